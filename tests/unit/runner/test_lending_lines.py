"""What a member of the group may ask the lender: part of a file's name comes from it."""

import pytest

from spark_activator.protocol import ProtocolError
from spark_activator.runner.lending_lines import (
    Borrow,
    Done,
    Granted,
    PauseGpu,
    ResumeGpu,
    decode_reply,
    decode_request,
    encode,
    plain_name,
)


@pytest.mark.parametrize(
    "request_",
    [Borrow("comfyui", 1 << 30), Borrow("x.2", 1, True, 7.5), PauseGpu(), PauseGpu(3), ResumeGpu()],
)
def test_requests_come_back(request_):
    assert decode_request(encode(request_)) == request_


@pytest.mark.parametrize("reply", [Granted("x", 12.5), Done()])
def test_replies_come_back(reply):
    assert decode_reply(encode(reply)) == reply


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'{"type":"granted","name":"x"}',
        b'{"type":"lease","name":"x"}',
        b'{"type":"lease","name":"../x","memory":1}',
        b'{"type":"lease","name":"a/b","memory":1}',
        b'{"type":"lease","name":".x","memory":1}',
        b'{"type":"lease","name":"","memory":1}',
        b'{"type":"lease","name":"x\\n","memory":1}',
        b'{"type":"lease","name":"' + b"x" * 41 + b'","memory":1}',
        b'{"type":"lease","name":"x","memory":0}',
        b'{"type":"lease","name":"x","memory":true}',
        b'{"type":"lease","name":"x","memory":1e9}',
        b'{"type":"lease","name":"x","memory":1' + b"0" * 40 + b"}",
        b'{"type":"lease","name":"x","memory":1,"seconds":0}',
        b'{"type":"lease","name":"x","memory":1,"seconds":Infinity}',
        b'{"type":"pause","seconds":NaN}',
        b'{"type":"pause","seconds":-1}',
    ],
)
def test_other_lines_are_refused(line):
    with pytest.raises(ProtocolError):
        decode_request(line)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("comfyui", "comfyui"),
        ("my model (2).sh", "my-model-2-.sh"),
        ("..", "program"),
        ("", "program"),
        ("Modell-ä", "Modell--"),
        ("x" * 99, "x" * 40),
    ],
)
def test_any_program_has_a_plain_name(text, name):
    assert plain_name(text) == name
    assert decode_request(encode(Borrow(name, 1))).name == name

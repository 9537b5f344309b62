"""The lines between activator and runner: what is written is read, and nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator import protocol, protocol_json
from spark_activator.protocol import ProtocolError


@pytest.mark.parametrize(
    "line",
    [
        protocol.Queued(2, ("a", "b"), 1.5),
        protocol.Queued(1, ("a",), holder="a", since=1.5, idle_since=None, due=9.0),
        protocol.Starting("weights", 0.5, 3.0),
        protocol.Ready("0a0b0c0d"),
        protocol.Yield("'other' waits"),
        protocol.Failed("start_failed", "why\nso", 7),
        protocol.Failed("gpu_held", "why", holder="a", due=9.0),
        protocol.Stopping(),
    ],
)
def test_what_a_runner_writes_is_read(line: protocol.FromRunner) -> None:
    assert protocol_json.decode_from_runner(protocol_json.encode(line)) == line


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b'{"type":"busy","in_flight":1}',  # an activator's
        b'{"type":["ready"],"upstream":"0a0b0c0d"}',
        b'{"type":"ready"}',
        b'{"type":"ready","upstream":7}',
        b'{"type":"queued","position":true}',
        b'{"type":"queued","position":1,"ahead":[1]}',
        b'{"type":"starting","phase":"weights","eta":NaN}',
        b'{"type":"starting","phase":"weights","progress":"0.5"}',
        b'{"type":"failed","code":"x","message":"y","retry_after":' + b"9" * 5000 + b"}",
        b"[" * 5000,
        b'{"type":"stopping"}' + b" " * protocol.MAX_LINE,
    ],
)
def test_what_is_not_in_the_protocol_is_an_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol_json.decode_from_runner(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_an_error(line: bytes) -> None:
    for decode in (
        protocol_json.decode_from_runner,
        protocol_json.decode_hello,
        protocol_json.decode_control,
    ):
        with contextlib.suppress(ProtocolError):
            decode(line)

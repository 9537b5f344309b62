"""Tokens, read off an answer's bytes as they pass."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.http.tokens import TAIL, Meter

CHAT = json.dumps(
    {
        "choices": [{"message": {"content": 'it says "usage": {"prompt_tokens": 9}'}}],
        "usage": {
            "prompt_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 16},
            "total_tokens": 26,
            "completion_tokens": 5,
        },
        "kv_transfer_params": None,
    }
).encode()
PIECE = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
STREAM = PIECE * 7 + b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}\n\n'
MESSAGES = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":'
    b'{"input_tokens":25,"output_tokens":1}}}\n\n'
    + b'event: content_block_delta\ndata: {"delta":{"text":"a"}}\n\n'
    * 300
    + b'event: message_delta\ndata: {"delta":{},"usage":{"output_tokens":300}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESPONSES = b'{"output":[],"usage":{"input_tokens":4,"output_tokens":6,"total_tokens":10}}'
RERANK = b'{"id":"x","usage":{"prompt_tokens":8,"total_tokens":8},"results":[%b]}' % (b"0," * 9000)


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (CHAT, (21, 5)),
        (STREAM + b"data: [DONE]\n\n", (3, 7)),
        (MESSAGES, (25, 300)),
        (RESPONSES, (4, 6)),
        (RERANK, (8, 0)),
        (b'{"data":[{"embedding":"%b"}],"usage":{"prompt_tokens":8}}' % (b"A" * 9000), (8, 0)),
        (b'{"text":"a","usage":{"type":"duration","seconds":3}}', (0, 0)),
        (b'{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}', (0, 0)),
        (b"", (0, 0)),
        (b"RIFF" + bytes(9000), (0, 0)),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 1000, 7])
def test_engine_says_how_many(answer: bytes, tokens: tuple[int, int], size: int) -> None:
    meter = Meter()
    for at in range(0, len(answer), size):
        meter.feed(answer[at : at + size])

    assert meter.tokens() == tokens


PIECES = [
    (PIECE * 7 + b"data: [DONE]\n\n", 7),
    (b"3d\r\n" + b"\r\n3d\r\n".join([PIECE] * 3) + b"\r\n0\r\n\r\n", 3),
    (b": a comment\n\n" + b"event: a\n" + PIECE, 1),
]


@pytest.mark.parametrize(("answer", "pieces"), PIECES)
def test_stream_that_does_not_say_it_is_counted_by_its_pieces(answer: bytes, pieces: int) -> None:
    meter = Meter()
    for part in answer.split(b"\n\n"):
        meter.feed(part + b"\n\n")

    assert meter.tokens() == (0, pieces)


@given(st.sampled_from(PIECES), st.lists(st.integers(0, 500)))
def test_pieces_are_counted_however_they_come(stream: tuple[bytes, int], cuts: list[int]) -> None:
    answer, pieces = stream
    meter = Meter()
    for begin, end in pairwise([0, *sorted(cuts), len(answer)]):
        meter.feed(answer[begin:end])  # nothing at all as well: a head can come alone

    assert meter.tokens() == (0, pieces)


def test_what_a_model_writes_is_not_what_the_engine_says() -> None:
    meter = Meter()
    meter.feed(json.dumps({"content": '"usage": {"completion_tokens": 999999}'}).encode())

    assert meter.tokens() == (0, 0)


@given(st.lists(st.binary(max_size=3 * TAIL), max_size=8))
def test_no_bytes_break_it_and_it_keeps_little(pieces: list[bytes]) -> None:
    meter = Meter()
    for piece in pieces:
        meter.feed(piece)

    sent, got = meter.tokens()
    assert sent >= 0
    assert got >= 0
    kept = b"".join(meter._tail)
    assert len(kept) < 2 * TAIL
    assert kept[-TAIL:] == b"".join(pieces)[-TAIL:]

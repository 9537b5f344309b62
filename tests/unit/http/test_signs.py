"""What clients read in a stream that was opened before its answer is there."""

from __future__ import annotations

import json
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.errors import REFUSALS, Refusal
from spark_activator.http import signs
from spark_activator.http.endpoints import STREAMED, Endpoint
from spark_activator.http.head import parse
from spark_activator.http.signs import Voice, voice_of
from spark_activator.http.unframed import BrokenBody, Unframed

ENDPOINTS = sorted(STREAMED)


def voice(endpoint: Endpoint, *fields: str, minor: int = 1, aloud: bool = False) -> Voice:
    lines = [f"POST / HTTP/1.{minor}", "Host: a", "Content-Length: 0", *fields, "", ""]
    head = parse("\r\n".join(lines).encode())
    return voice_of(head, endpoint, model="story", request_id="ab12", created=7, aloud=aloud)


def events(stream: bytes) -> list[tuple[str, Any]]:
    """Read events as the standard has it: those without data are none."""
    assert stream.endswith(b"\n\n")
    found = []
    for block in stream.decode().split("\n\n"):
        lines = [line.partition(": ")[::2] for line in block.split("\n") if line]
        data = "\n".join(value for name, value in lines if name == "data")
        if data:
            found.append((dict(lines).get("event", ""), json.loads(data)))
    return found


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@given(text=st.text())
def test_sign_is_one_block_whatever_is_said(endpoint: Endpoint, text: str) -> None:
    sign = voice(endpoint, aloud=True).sign(text, changed=True)

    assert sign.count(b"\n\n") == 1
    assert b"\r" not in sign
    assert len(events(sign)) <= 1


def test_signs_are_what_each_client_counts_as_life() -> None:
    def told(endpoint: Endpoint, *fields: str) -> bytes:
        return voice(endpoint, *fields).sign("queued: position 2", changed=True)

    comment = b": queued: position 2\n\n"
    assert told(Endpoint.CHAT) == told(Endpoint.COMPLETIONS) == comment
    assert events(told(Endpoint.MESSAGES)) == [("ping", {"type": "ping"})]
    assert b": queued: position 2\n" in told(Endpoint.MESSAGES)
    [(name, data)] = events(told(Endpoint.RESPONSES))
    assert (name, data["type"], data["state"]) == ("keepalive", "keepalive", "queued: position 2")
    # Helpers of OpenAI's SDKs break at an event before `response.created`.
    assert told(Endpoint.RESPONSES, "X-Stainless-Lang: python") == comment


def test_loading_text_is_a_chunk_that_ends_with_a_newline_and_only_when_it_is_news() -> None:
    chat = voice(Endpoint.CHAT, aloud=True)
    [(_, chunk)] = events(chat.sign("starting: weights 40%", changed=True))

    assert chunk["object"] == "chat.completion.chunk"
    [choice] = chunk["choices"]
    assert choice["delta"] == {"reasoning_content": "starting: weights 40%\n"}
    assert chat.sign("starting: weights 40%", changed=False).startswith(b": ")
    assert voice(Endpoint.COMPLETIONS, aloud=True).sign("x", changed=True) == b": x\n\n"


@pytest.mark.parametrize("code", sorted(REFUSALS))
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_refusal_keeps_code_status_and_pause_in_a_stream(endpoint: Endpoint, code: str) -> None:
    refusal = Refusal(code, "because")
    told = events(voice(endpoint).failure(signs.refused(refusal)))

    errors = [data["error"] for _, data in told if "error" in data]
    assert errors[0]["message"] == "because"
    assert errors[0]["code"] == code
    assert errors[0]["status"] == refusal.kind.status
    assert errors[0].get("retry_after") == refusal.retry_after
    if endpoint is Endpoint.RESPONSES:
        name, last = told[-1]
        assert name == last["type"] == "response.failed"
        assert last["response"]["error"] == {"code": code, "message": "because"}
    if endpoint is Endpoint.MESSAGES:
        assert told[0][0] == told[0][1]["type"] == "error"


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error": {"message": "long", "type": "BadRequestError", "code": 400}}', "long", "400"),
        (b'{"object": "error", "message": "too long", "code": 400}', "too long", "400"),
        (b'{"detail": "Not Found"}', "Not Found", None),
        (b'{"error": "no"}', "no", None),
        (b'{"error": {"message": 5}}', 'the engine answered 400: {"error": {"message": 5}}', None),
        (b"[1]", "the engine answered 400: [1]", None),
        (b"", "the engine answered 400: nothing", None),
        (b"\xff\n\nInternal", "the engine answered 400: \ufffd Internal", None),
    ],
)  # fmt: skip
def test_engine_is_quoted_whatever_it_says(body: bytes, message: str, code: str | None) -> None:
    failure = signs.engine_failed(400, body)

    assert (failure.status, failure.message, failure.code) == (400, message, code)
    assert failure.type in {"BadRequestError", "invalid_request_error"}


@given(pieces=st.lists(st.binary(min_size=1)))
def test_stream_of_a_new_client_is_read_by_a_parser_that_is_not_ours(pieces: list[bytes]) -> None:
    told = voice(Endpoint.CHAT)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(told.head() + b"".join(map(told.frame, pieces)) + told.last)

    head = client.next_event()
    assert isinstance(head, h11.Response)
    fields = {name.decode(): value.decode() for name, value in head.headers}
    assert fields["content-type"].startswith("text/event-stream")
    assert fields["x-spark-request-id"] == "ab12"
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert body == b"".join(pieces)


def test_stream_of_an_old_client_has_no_chunks() -> None:
    old = voice(Endpoint.CHAT, minor=0)

    assert b"transfer-encoding" not in old.head().lower()
    assert old.frame(b"x") + old.last == b"x"


@given(data=st.binary(), cuts=st.lists(st.integers(1, 40)))
def test_body_is_the_same_however_it_is_framed_and_arrives(data: bytes, cuts: list[int]) -> None:
    chunks = b"%x;a=b\r\n%b\r\n" % (len(data), data) if data else b""
    for raw, body in (
        (chunks + b"0\r\nTrailer: x\r\n\r\n", Unframed(None, chunked=True)),
        (data, Unframed(len(data), chunked=False)),
        (data, Unframed(None, chunked=False)),
    ):
        found, rest = b"", raw
        for size in [*cuts, len(raw)]:
            piece, rest = rest[:size], rest[size:]
            if piece and not body.complete:
                found += body.feed(piece)
        if not body.complete:
            found += body.feed(b"")
        assert body.complete
        assert found == data


@pytest.mark.parametrize(
    ("raw", "length", "chunked"),
    [
        (b"5\r\nhel", None, True),
        (b"5\r\nhello\r\n", None, True),
        (b"-1\r\n", None, True),
        (b"hel", 5, False),
    ],
)
def test_body_that_ends_early_is_not_complete(
    raw: bytes, length: int | None, chunked: bool
) -> None:
    body = Unframed(length, chunked=chunked)

    def feed_all() -> None:
        for piece in (raw, b""):
            body.feed(piece)

    with pytest.raises(BrokenBody):
        feed_all()

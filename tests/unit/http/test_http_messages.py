"""Paths, bodies, responses and answers of our own."""

from __future__ import annotations

import json
import re

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.errors import REFUSALS, Refusal
from spark_activator.http import answers, body, response
from spark_activator.http.head import Head, parse
from spark_activator.http.paths import Route, route


def ask(line: str, *fields: str) -> Head:
    return parse("\r\n".join([f"{line} HTTP/1.1", "Host: a", *fields, "", ""]).encode())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("POST /v1/chat/completions", Route.ENGINE),
        ("POST /v1/messages?beta=true", Route.ENGINE),
        ("POST /v1/responses", Route.ENGINE),
        ("GET /v1/responses/resp_1-a", Route.ENGINE),
        ("POST /v1/responses/resp_1/cancel", Route.ENGINE),
        ("POST /v1/audio/transcriptions", Route.ENGINE),
        ("GET /v1/models", Route.MODELS),
        ("HEAD /health", Route.HEALTH),
        ("GET /metrics", Route.METRICS),
        ("GET /v1/models/gpt-oss-20b", Route.MODEL),
        ("GET /v1/models/openai/gpt-oss-20b", Route.MODEL),
        ("GET /v1/models/openai%2Fgpt-oss-20b", Route.MODEL),
        ("POST /v1/rerank", Route.ENGINE),
        ("POST /v1/audio/speech", Route.ENGINE),
        ("OPTIONS /v1/chat/completions", Route.OPTIONS),
        ("OPTIONS /v1/models", Route.OPTIONS),
        ("POST /debug/touch", Route.TOUCH),
        ("POST /debug/warm", Route.WARM),
        ("POST /debug/stop", Route.STOP),
    ],
)
def test_allowed_paths(line: str, expected: Route) -> None:
    assert route(ask(line)) is expected


@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs", "/invocations", "/tokenize", "/pause", "/collective_rpc", "/sleep", "/load",
        "/v1/chat/completions/", "//v1/models", "/v1//models", "/v1/../v1/models", "/V1/models",
        "/v1/chat%2fcompletions", "/v1/responses/..", "/v1/responses/a/b", "/v1/responses/",
    ],
)  # fmt: skip
def test_everything_else_is_not_there(path: str) -> None:
    with pytest.raises(Refusal) as refused:
        route(ask(f"POST {path}"))
    assert refused.value.code == "path_not_allowed"


def test_wrong_method_is_told_the_right_one() -> None:
    with pytest.raises(Refusal) as refused:
        route(ask("GET /v1/chat/completions"))
    assert refused.value.code == "method_not_allowed"
    assert b"\r\nAllow: POST, OPTIONS\r\n" in answers.refusal_answer(refused.value, "id")


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_is_openai_shaped(code: str) -> None:
    raw = answers.refusal_answer(Refusal(code, 'say "no"'), "0123")

    head, _, content = raw.partition(b"\r\n\r\n")
    error = json.loads(content)["error"]
    assert head.startswith(b"HTTP/1.1 %d " % REFUSALS[code].status)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert b"\r\nConnection: close" in head
    assert b"\r\nX-Spark-Request-Id: 0123" in head
    assert (b"\r\nRetry-After: " in head) == (REFUSALS[code].retry_after is not None)


def test_answer_to_head_has_the_length_of_what_it_leaves_out() -> None:
    whole = answers.json_answer({"a": 1}, "id")
    assert whole == answers.json_answer({"a": 1}, "id", head_only=True) + b'{"a": 1}'


def test_sized_body_takes_no_byte_of_what_follows() -> None:
    sized = body.Sized(5)
    assert (sized.feed(b"hel"), sized.wanted, sized.complete) == (b"hel", 2, False)
    assert (sized.feed(b"loGET /"), sized.wanted, sized.complete) == (b"lo", 0, True)
    assert sized.feed(b"more") == b""


@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=8),
    st.lists(st.integers(min_value=1, max_value=40), min_size=1),
)
def test_chunks_mean_the_same_however_they_arrive(pieces: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(b"%x;x=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    raw += b"0\r\nTrailer: 1\r\n\r\nGET / HTTP/1.1\r\n"
    chunked = body.Chunked()
    forwarded = b""
    while raw and not chunked.complete:
        size = cuts[len(raw) % len(cuts)]
        forwarded += chunked.feed(raw[:size])
        raw = raw[size:]

    assert chunked.complete
    assert dechunk(forwarded) == b"".join(pieces)
    assert b"Trailer" not in forwarded.replace(b"".join(pieces), b"")


def dechunk(raw: bytes) -> bytes:
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)
    content = b""
    reader.next_event()
    while isinstance(event := reader.next_event(), h11.Data):
        content += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert reader.trailing_data[0] == b""
    return content


@pytest.mark.parametrize(
    "raw",
    [
        b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\rhello",
        b"+5\r\n", b" 5\r\n", b"0x5\r\n", b"5 a\r\n", b"5;\x00\r\n", b"5;a\rb\r\n", b"\r\n", b"\n",
        b"0\r\nX\r\n", b"0\r\nX: \x00\r\n", b"0\r\n a: b\r\n", b"0\r\nX : 1\r\n",
        b"00000000000000005\r\n",
        b"5;" + b"x" * 5000, b"0\r\n" + b"X: 1\r\n" * 101,
    ],
)  # fmt: skip
def test_broken_chunks_are_refused_however_they_arrive(raw: bytes) -> None:
    slowly = body.Chunked()
    with pytest.raises(Refusal) as refused:
        body.Chunked().feed(raw)
    assert refused.value.code == "invalid_request"
    with pytest.raises(Refusal):
        _ = [slowly.feed(raw[number : number + 1]) for number in range(len(raw))]


def test_what_came_with_the_head_is_looked_at_before_anything_is_woken() -> None:
    head = ask("POST /", "Transfer-Encoding: chunked")
    with pytest.raises(Refusal):
        body.body_of(head, b"5\r\nhelloXX")
    assert body.body_of(head, b"5\r\nhel").feed(b"5\r\nhel") == b"3\r\nhel\r\n"


@given(st.binary(max_size=60), st.integers(1, 9))
def test_chunks_that_pass_are_read_alike_by_a_second_reader(raw: bytes, cut: int) -> None:
    chunked, forwarded = body.Chunked(), b""
    try:
        for start in range(0, len(raw), cut):
            forwarded += chunked.feed(raw[start : start + cut])
    except Refusal:
        return
    if chunked.complete:
        dechunk(forwarded)


def test_bodies_have_a_limit() -> None:
    with pytest.raises(Refusal) as refused:
        body.Chunked().feed(b"%x\r\n" % (body.MAX_BODY + 1))
    assert refused.value.code == "body_too_large"
    limit = body.MAX_BODY
    with pytest.raises(Refusal) as refused:
        body.body_of(ask("POST /", f"Content-Length: {limit + 1}"))
    assert refused.value.code == "body_too_large"

    chunked = body.Chunked()
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    for _ in range(limit // 0x100000):
        chunked.feed(piece)
    with pytest.raises(Refusal) as refused:
        chunked.feed(piece)
    assert refused.value.code == "body_too_large"


def test_response_head_loses_this_hop_and_gains_ours() -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nDate: x\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n"
        b"X-Spark-Request-Id: forged\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert response.find_end(raw + b"body") == len(raw)
    head = response.parse(raw)

    assert head.status == 200
    assert head.for_downstream("0123") == (
        b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n"
        b"X-Spark-Request-Id: 0123\r\nConnection: close\r\n\r\n"
    )


def test_interim_head_is_left_alone() -> None:
    head = response.parse(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    assert head.interim
    assert head.for_downstream("0123") == b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"+OK\r\n\r\n",
    ],
)
def test_engine_that_does_not_speak_http_is_a_bad_gateway(raw: bytes) -> None:
    with pytest.raises(Refusal, match=re.escape("the engine sent")) as refused:
        response.parse(raw)
    assert refused.value.code == "bad_gateway"


def test_endless_response_head_is_a_bad_gateway() -> None:
    assert response.find_end(b"HTTP/1.1 200 OK\r\n") is None
    with pytest.raises(Refusal):
        response.find_end(b"x" * response.MAX_HEAD)

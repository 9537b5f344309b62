"""Request heads: refused, or the same to everybody who reads them after us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.errors import Refusal
from spark_activator.http import head as heads
from spark_activator.http.body import body_of
from spark_activator.http.head import MAX_FIELDS, MAX_HEAD, Head

# Each was sent to h11 and to nginx, which disagree about a third of them.
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "raw_requests.json").read_text())


def understand(raw: bytes) -> bytes:
    """What the engine gets of *raw*."""
    end = heads.find_end(raw)
    assert end is not None
    head = heads.parse(raw[:end])
    return head.for_upstream() + body_of(head).feed(raw[end:])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_known_trouble_is_refused_or_forwarded_unambiguously(case: dict[str, Any]) -> None:
    raw = case["bytes"].encode("latin-1")

    if "refused" in case:
        with pytest.raises(Refusal) as refused:
            understand(raw)
        assert refused.value.code == case["refused"]
    else:
        assert understand(raw).decode("latin-1") == case["forwarded"]


@pytest.mark.parametrize(
    "case", [case for case in CASES if "forwarded" in case], ids=lambda case: case["name"]
)
def test_what_is_forwarded_is_one_request_to_another_parser(case: dict[str, Any]) -> None:
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(case["forwarded"].encode("latin-1"))

    request = reader.next_event()

    assert isinstance(request, h11.Request)
    framing = [
        name for name, _ in request.headers if name in (b"content-length", b"transfer-encoding")
    ]
    assert len(framing) <= 1
    assert dict(request.headers)[b"connection"] == b"close"
    if "100-continue" in case["bytes"]:
        return  # its body has not come
    while not isinstance(reader.next_event(), h11.EndOfMessage):
        pass
    assert reader.trailing_data[0] == b""


def request(*lines: str, first: str = "POST /v1/completions HTTP/1.1") -> Head:
    return heads.parse("\r\n".join([first, "Host: a", *lines, "", ""]).encode("latin-1"))


def names(head: Head) -> list[bytes]:
    return [name for name, _ in head.fields]


def test_fields_of_this_hop_end_here() -> None:
    head = request(
        "Connection: keep-alive, X-Mine, Content-Type",
        "X-Mine: 1",
        "Content-Type: application/json",
        "Proxy-Authorization: x",
        "TE: trailers",
        "Keep-Alive: timeout=5",
    )

    # Connection may not talk us out of what the request means.
    assert names(head) == [b"host", b"content-type"]


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Host"])
def test_connection_cannot_name_what_frames_the_request(name: str) -> None:
    head = request(f"Connection: {name}", "Content-Length: 3")

    assert b"content-length: 3" in head.for_upstream()
    assert b"host: a" in head.for_upstream()


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "Api-Key"])
def test_keys_are_ours_and_not_the_engines(name: str) -> None:
    head = request(f"{name}: Bearer secret", f"Connection: {name}")

    assert head.value(name.lower().encode()) == b"Bearer secret"
    assert b"secret" not in head.for_upstream()


@pytest.mark.parametrize("name", ["Content-Type", "Content-Encoding", "Expect"])
def test_what_is_decided_by_one_value_has_one(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        request(f"{name}: 100-continue", f"{name}: 100-continue")
    assert refused.value.code == "invalid_request"


@pytest.mark.parametrize("name", ["Content_Length", "Transfer_Encoding"])
def test_framing_has_no_second_spelling(name: str) -> None:
    with pytest.raises(Refusal):
        request(f"{name}: 5")


def test_body_that_became_another_one_has_another_length() -> None:
    sized, chunked = request("Content-Length: 5"), request("Transfer-Encoding: chunked")

    for head in (sized, chunked):
        lines = head.with_length(7).for_upstream().split(b"\r\n")
        assert b"content-length: 7" in lines
        assert b"transfer-encoding: chunked" not in lines
        assert sum(line.startswith(b"content-length") for line in lines) == 1


def test_limits_count_what_came_in_one_piece_too() -> None:
    many = [f"X-{number}: 1" for number in range(MAX_FIELDS)]
    with pytest.raises(Refusal, match=f"more than {MAX_FIELDS} fields"):
        request(*many)
    request(*many[1:])

    large = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n"
    with pytest.raises(Refusal) as refused:
        heads.find_end(large)
    assert refused.value.code == "head_too_large"
    with pytest.raises(Refusal) as refused:
        heads.parse(large)
    assert refused.value.code == "head_too_large"


@pytest.mark.parametrize(
    "received",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",  # TLS
        b"GET / HTTP/1.1\nHost",  # would otherwise be waited for
        b"GET / HTTP/1.1\r\nX: \x00",
        b"\r\n",
    ],
)
def test_what_can_never_become_a_head_is_refused_at_once(received: bytes) -> None:
    with pytest.raises(Refusal):
        heads.find_end(received)


def test_head_is_complete_when_its_last_byte_is_there() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    ends = [heads.find_end(raw[:count]) for count in range(1, len(raw) + 1)]

    assert ends == [None] * (len(raw) - 1) + [len(raw)]


@pytest.mark.parametrize("host", ["a", "a.b:80", "127.0.0.1:18100", "[::1]:18100", "spark-1.local"])
def test_hosts_that_are_names_or_addresses_pass(host: str) -> None:
    assert heads.parse(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).minor == 1


@pytest.mark.parametrize(
    "host", ["a/", "a@b", "a?b", "a,b", "a:b", "", ":80", "a:123456", "a:65536", "[::1", "a\tb"]
)
def test_hosts_that_are_something_else_do_not(host: str) -> None:
    with pytest.raises(Refusal):
        heads.parse(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def test_http_1_0_needs_no_host_but_has_one_at_most() -> None:
    assert heads.parse(b"GET / HTTP/1.0\r\n\r\n").minor == 0
    with pytest.raises(Refusal):
        heads.parse(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n")


def test_only_the_known_expectation_is_met() -> None:
    assert request("Expect: 100-Continue").wants_continue
    with pytest.raises(Refusal) as refused:
        request("Expect: something-else")
    assert refused.value.code == "expectation_failed"


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        end = heads.find_end(raw)
        if end is not None:
            heads.parse(raw[:end])
    except Refusal:
        pass


TOKENS = st.sampled_from(
    [
        "GET", "POST", " ", "/", "/v1/models", "HTTP/1.1", "HTTP/1.0", "\r\n", "\n", "\r", ":",
        "Host", "a", "Content-Length", "Transfer-Encoding", "chunked", "5", "hello", "\t", "\x00",
        ",", ": ", "\r\n\r\n",
    ]
)  # fmt: skip


@given(st.lists(TOKENS, max_size=40))
def test_whatever_passes_is_read_alike_by_a_second_parser(tokens: list[str]) -> None:
    raw = "".join(tokens).encode("latin-1")
    try:
        end = heads.find_end(raw)
        if end is None:
            return
        head = heads.parse(raw[:end])
    except Refusal:
        return

    reader = h11.Connection(h11.SERVER)
    reader.receive_data(head.for_upstream())
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    assert event.target == head.target.encode()
    assert event.method == head.method.encode()

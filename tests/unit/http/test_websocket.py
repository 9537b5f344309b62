"""The handshake of a WebSocket."""

from __future__ import annotations

import pytest

from spark_activator.errors import Refusal
from spark_activator.http import websocket
from spark_activator.http.head import Head, parse
from spark_activator.http.paths import Route, route

# The one of RFC 6455, 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = {
    "Host": "a",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def head(changed: dict[str, str | None], line: str = "GET /v1/realtime?model=a HTTP/1.1") -> Head:
    fields = {**HANDSHAKE, **changed}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return parse("\r\n".join([line, *lines, "", ""]).encode())


def test_handshake_goes_to_the_engine_as_one() -> None:
    asked = head({"X-Api-Key": "secret", "Sec-WebSocket-Extensions": "permessage-deflate"})

    assert route(asked) is Route.ENGINE
    assert websocket.for_upstream(asked).split(b"\r\n") == [
        b"GET /v1/realtime?model=a HTTP/1.1",
        b"host: a",
        b"sec-websocket-key: " + KEY.encode(),
        b"sec-websocket-version: 13",
        b"sec-websocket-extensions: permessage-deflate",
        b"connection: upgrade",
        b"upgrade: websocket",
        b"",
        b"",
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": None},
        {"Connection": None},
        {"Connection": "close"},
        {"Upgrade": "h2c"},
        {"Upgrade": "websocket, h2c"},
        {"Sec-WebSocket-Version": "8"},
        {"Sec-WebSocket-Version": None},
        {"Sec-WebSocket-Key": None},
        {"Sec-WebSocket-Key": "x"},
        {"Sec-WebSocket-Key": "!" + KEY},
        {"Sec-WebSocket-Key": "c2hvcnQ="},
        {"Sec-WebSocket-Protocol": "a b"},
        {"Content-Length": "5"},
        {"Transfer-Encoding": "chunked"},
    ],
)
def test_anything_else_on_that_path_is_refused(changed: dict[str, str | None]) -> None:
    with pytest.raises(Refusal) as refused:
        route(head(changed))
    assert refused.value.code == "invalid_request"
    assert refused.value.headers["Sec-WebSocket-Version"] == "13"


def test_http_1_0_and_other_methods_are_no_handshakes() -> None:
    with pytest.raises(Refusal):
        route(head({}, "GET /v1/realtime HTTP/1.0"))
    with pytest.raises(Refusal) as refused:
        route(head({}, "POST /v1/realtime HTTP/1.1"))
    assert refused.value.code == "method_not_allowed"


def test_upgrade_of_another_path_is_not_heard() -> None:
    asked = head({"Content-Length": "2"}, "POST /v1/completions HTTP/1.1")

    assert route(asked) is Route.ENGINE
    assert b"upgrade" not in asked.for_upstream()


def test_key_that_is_offered_as_a_protocol_is_ours_alone() -> None:
    offered = "realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1"
    asked = head({"Sec-WebSocket-Protocol": offered})

    assert websocket.credential(asked) == "sk-1"
    forwarded = websocket.for_upstream(asked)
    assert b"sec-websocket-protocol: realtime, openai-beta.realtime-v1\r\n" in forwarded
    assert b"sk-1" not in forwarded
    assert websocket.credential(head({})) is None


def test_only_the_answer_to_this_key_takes_the_handshake() -> None:
    asked = head({})
    upgrade, accept = (b"upgrade", b"WebSocket"), (b"sec-websocket-accept", ACCEPT)

    assert websocket.accepts(asked, 101, [upgrade, accept])
    assert not websocket.accepts(asked, 200, [upgrade, accept])
    assert not websocket.accepts(asked, 101, [upgrade])
    assert not websocket.accepts(asked, 101, [accept])
    assert not websocket.accepts(asked, 101, [upgrade, accept, accept])
    assert not websocket.accepts(asked, 101, [upgrade, (b"sec-websocket-accept", b"x")])

"""What goes to a model that is there: `auto`, kept responses, WebSockets."""

import json
import os
import re
import socket

import pytest
from nginx_process import PATIENCE

CHAT = "/v1/chat/completions"


@pytest.fixture
def auto(nginx, make_entry, story, echo):
    """Two chat models, a utility and one that does not chat; `auto` asked by body."""

    def route(**settings):
        nginx.route(
            {
                "story": make_entry("story", story.port, utility=False),
                "echo": make_entry("echo", echo.port, utility=False),
                "small": make_entry("small", echo.port, utility=True),
                "vectors": make_entry("vectors", echo.port, chat=False),
                "resting": make_entry("resting", echo.port, enabled=False),
            },
            **settings,
        )

    def ask(target=CHAT):
        reply = nginx.ask("POST", target, {"model": "auto"})
        return reply.json["served_by"] if reply.status == 200 else reply.error["code"]

    route()
    nginx.with_settings, nginx.auto = route, ask
    return nginx


def test_auto_goes_to_the_chat_model_that_is_loaded(auto, story):
    auto.show("story", "ready")
    auto.show("vectors", "ready", in_flight=3)
    auto.show("resting", "ready", in_flight=3)

    targets = (CHAT, "/v1/completions", "/v1/responses", "/v1/messages?beta=true")
    assert [auto.auto(target) for target in targets] == ["story"] * 4
    # The body stays as it is: the activator knows the word.
    assert {request.body for request in story.arrived} == {b'{"model": "auto"}'}
    assert [request.target for request in story.arrived] == list(targets)


@pytest.mark.parametrize("coming", ["queued", "memory", "weights", "warmup", "draining"])
def test_auto_causes_no_swap(auto, coming):
    auto.with_settings(default_model="echo")
    auto.show("story", "ready")
    auto.show("echo", coming)

    assert auto.auto() == "story"


def test_auto_waits_for_what_comes_rather_than_for_another(auto):
    auto.with_settings(default_model="story")
    auto.show("echo", "weights")
    auto.show("story", "stopping")

    assert auto.auto() == "echo"


def test_auto_goes_to_the_default_where_nothing_is_loaded(auto):
    auto.with_settings(default_model="echo")
    assert auto.auto() == "echo"
    # A helper for titles is no chat model that one would choose.
    auto.show("small", "ready")
    assert auto.auto() == "echo"


def test_auto_goes_to_a_utility_where_there_is_nothing_else(auto, echo):
    auto.show("small", "ready")
    assert auto.auto() == "echo"
    auto.show("story", "ready")
    assert auto.auto() == "story"


def test_auto_takes_the_one_that_was_asked_last(auto):
    auto.show("story", "ready")
    auto.show("echo", "ready")
    for name, at in (("story", 1000), ("echo", 2000)):
        os.utime(auto.states / f"{name}.json", (at, at))
    assert auto.auto() == "echo"

    auto.show("story", "ready", in_flight=1)
    os.utime(auto.states / "story.json", (1000, 1000))
    assert auto.auto() == "story"


@pytest.mark.parametrize("default", [None, "nobody", "resting", 5])
def test_auto_with_nothing_to_choose(auto, story, echo, default):
    auto.with_settings(default_model=default)
    reply = auto.ask("POST", CHAT, {"model": "auto"})

    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert "default_model" in reply.error["message"]
    assert story.arrived == echo.arrived == []


def test_auto_is_for_chats(auto):
    auto.with_settings(default_model="echo")
    auto.show("story", "ready")

    assert auto.auto("/v1/embeddings") == "model_not_found"
    assert "for chats" in auto.ask("POST", "/v1/rerank", {"model": "auto"}).error["message"]


def test_auto_in_a_path(auto, story):
    auto.show("story", "ready")

    assert auto.ask("POST", "/v1/auto/chat/completions", {}).status == 200
    assert auto.ask("POST", "/v1/auto/chat/completions", {"model": "auto"}).status == 200
    assert auto.ask("POST", "/v1/story/chat/completions", {"model": "auto"}).status == 200
    assert [request.target for request in story.arrived] == [CHAT] * 3
    assert auto.ask("POST", "/v1/auto/chat/completions", {"model": "echo"}).status == 400


def test_model_that_is_called_auto_is_that_model(nginx, make_entry, story, echo):
    nginx.route({"auto": make_entry("auto", echo.port), "story": make_entry("story", story.port)})
    nginx.show("story", "ready")

    assert nginx.ask("POST", CHAT, {"model": "auto"}).json == {"served_by": "echo"}


def has(*ids: str):
    """An engine that keeps these responses."""

    def answer(request):
        found = re.split("[/?]", request.path)[3] in ids
        body = json.dumps({"path": request.path} if found else {"error": {"code": 404}}).encode()
        request.send_response(200 if found else 404)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_response_is_found_where_it_lives(nginx, story, echo):
    story.answer, echo.answer = has("resp_s"), has("resp_e")
    nginx.show("story", "ready")
    nginx.show("echo", "ready")

    for response, upstream in (("resp_s", story), ("resp_e", echo)):
        for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "?stream=true&after=3")):
            target = f"/v1/responses/{response}{path}"
            reply = nginx.ask(method, target)
            assert (reply.status, reply.json) == (200, {"path": target})
            assert (upstream.last.method, upstream.last.target) == (method, target)
    # Where it is was asked with GET alone: nothing was cancelled by looking.
    assert {r.method for r in story.arrived if r.target == "/v1/responses/resp_e"} <= {"GET"}


@pytest.mark.parametrize("phase", [None, "queued", "weights", "draining", "reclaiming"])
def test_response_of_no_loaded_model_wakes_nobody(nginx, story, echo, phase):
    if phase is not None:
        nginx.show("story", phase)
    for method, path in (("GET", ""), ("POST", "/cancel")):
        reply = nginx.ask(method, f"/v1/responses/resp_s{path}")
        assert (reply.status, reply.error["code"]) == (404, "response_not_found")
    assert story.arrived == echo.arrived == []


def test_response_that_nobody_has(nginx, story, echo):
    story.answer = echo.answer = has()
    nginx.show("story", "ready")
    nginx.show("echo", "ready")
    nginx.show("gone", "ready")

    reply = nginx.ask("GET", "/v1/responses/resp_1")
    assert (reply.status, reply.error["code"]) == (404, "response_not_found")
    assert (len(story.arrived), len(echo.arrived)) == (1, 1)


def test_large_response_is_found(nginx, story):
    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", "3000000")
        request.end_headers()
        request.wfile.write(b"x" * 3_000_000)

    story.answer = answer
    nginx.show("story", "ready")
    assert len(nginx.ask("GET", "/v1/responses/resp_1").body) == 3_000_000


def test_cancellation_that_names_its_model_goes_there(nginx, story, echo):
    story.answer = has("resp_s")
    body = {"model": "story"}

    assert nginx.ask("POST", "/v1/responses/resp_s/cancel", body).status == 200
    assert [request.method for request in story.arrived] == ["POST"]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/cancel"),
    ],
)
def test_response_by_another_method(nginx, story, method, target):
    nginx.show("story", "ready")

    assert nginx.ask(method, target, {} if method == "POST" else None).status == 405
    assert story.arrived == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "target",
    [
        "/v1/responses/resp%2F1",
        "/v1/responses/resp%201",
        "/v1/responses/" + "x" * 129,
        "/v1/responses/",
    ],
)
def test_what_is_no_response(nginx, story, method, target):
    nginx.show("story", "ready")

    reply = nginx.ask(method, target, {"model": "story"} if method == "POST" else None)
    assert (reply.status, reply.error["code"]) == (404, "path_not_allowed")
    assert story.arrived == []


def upgrade(nginx, target: str, *more: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Connection: Upgrade",
             "Upgrade: websocket", "Sec-WebSocket-Key: x", *more]  # fmt: skip
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        seen = client.recv(65536)
        if seen.startswith(b"HTTP/1.1 101 "):
            client.sendall(b"ping")
            while not seen.endswith(b"ping"):
                seen += client.recv(65536)
            client.shutdown(socket.SHUT_WR)
        return seen


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/v1/realtime?model=story", "/v1/realtime?model=story"),
        ("/v1/realtime?a=b&model=openai%2Fgpt-story", "/v1/realtime?a=b&model=openai%2Fgpt-story"),
        ("/v1/story/realtime", "/v1/realtime"),
        ("/v1/openai/gpt-story/realtime?model=story", "/v1/realtime?model=story"),
    ],
)
def test_websocket_reaches_its_model(nginx, story, target, arrives):
    def answer(request):
        request.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        request.wfile.write(request.rfile.read(4))
        request.close_connection = True

    story.answer = answer
    assert upgrade(nginx, target).endswith(b"ping")
    told = {key.lower(): value for key, value in story.last.headers.items()}
    assert (story.last.target, told["upgrade"], told["connection"]) == (
        arrives, "websocket", "upgrade"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/realtime", 400),
        ("/v1/realtime?model=", 400),
        ("/v1/realtime?model=story&model=echo", 400),
        ("/v1/story/realtime?model=echo", 400),
        ("/v1/realtime?model=nobody", 404),
    ],
)
def test_websocket_without_a_model(nginx, story, echo, target, status):
    assert upgrade(nginx, target).startswith(b"HTTP/1.1 %d " % status)
    assert story.arrived == echo.arrived == []


def test_only_realtime_is_upgraded(nginx, story):
    for target in ("/v1/story/models", "/v1/story/realtime/x"):
        upgrade(nginx, target)
        assert "upgrade" not in {name.lower() for name in story.last.headers}
        assert story.last.headers["Connection"] == "close"
    nginx.ask("GET", "/v1/story/realtime")
    assert story.last.headers["Connection"] == "close"

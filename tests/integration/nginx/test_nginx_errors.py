"""What nginx answers by itself, in OpenAI's shape, and what it leaves alone."""

import json
import re
import socket
from pathlib import Path

import pytest
from nginx_process import PATIENCE, entry

from spark_activator.errors import REFUSALS

UNITS = Path(__file__).parents[3] / "units/nginx"


def refused(reply, code: str) -> str:
    """Check that *reply* is the refusal *code* of the one table; return its message."""
    kind = REFUSALS[code]
    assert (reply.status, reply.error["code"], reply.error["type"]) == (
        kind.status,
        code,
        kind.type,
    )
    retry = kind.retry_after
    assert reply.headers.get("Retry-After") == (None if retry is None else str(retry))
    return reply.error["message"]


def test_path_and_body_disagree(nginx, story, echo):
    reply = nginx.ask("POST", "/v1/story/chat/completions", {"model": "echo"})

    message = refused(reply, "invalid_request")
    assert "'story'" in message
    assert "'echo'" in message
    assert reply.error["param"] == "model"
    assert story.arrived == echo.arrived == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("stroy", ["story"]),
        ("STORY", ["story", "openai/gpt-story", "story-precise"]),
        ("gpt-story", ["openai/gpt-story"]),
        ("storyprecise", ["story-precise"]),
        ("restin", ["resting"]),
        ("llama-3.3-70b", []),
        ("s", []),
        ("x" * 100_000, []),
    ],
)
def test_unknown_model_is_told_what_is_near(nginx, name, near):
    reply = nginx.ask("POST", "/v1/chat/completions", {"model": name})

    message = refused(reply, "model_not_found")
    assert reply.error["param"] == "model"
    suggested = message.partition("did you mean ")[2]
    assert re.findall(r"'([^']*)'", suggested)[: len(near)] == near
    assert len(re.findall(r"'([^']*)'", suggested)) <= 3
    assert bool(suggested) == bool(near)
    assert len(message) < 400


@pytest.mark.parametrize(
    "target",
    [
        "/v1/stori/chat/completions",
        "/v1/openai/gpt-stori/chat/completions",
        "/v1/models/stori",
    ],
)
def test_unknown_model_in_a_path(nginx, target):
    method = "GET" if "models" in target else "POST"

    assert "stor" in refused(nginx.ask(method, target), "model_not_found").partition("mean")[2]


RETIRED = {
    "old": {"reason": "its weights are gone", "instead": "story"},
    "a/old:7b": {"reason": "nobody asked for it", "instead": None},
    "rest:7b": {"reason": "an owner has it again", "instead": "story"},
}


def with_retired(nginx, story):
    models = {
        "story": entry("story", story.port),
        "resting": entry("resting", story.port, "rest:7b", enabled=False),
    }
    nginx.route(models, retired=RETIRED)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("old", "model 'old' is no more: its weights are gone (use 'story')"),
        ("a/old:7b", "model 'a/old:7b' is no more: nobody asked for it"),
    ],
)
def test_retired_model_says_why_and_what_to_use(nginx, story, name, words):
    with_retired(nginx, story)
    replies = [
        nginx.ask("POST", "/v1/chat/completions", {"model": name}),
        nginx.ask("POST", f"/v1/{name}/chat/completions", {"model": name}),
        nginx.ask("GET", f"/v1/models/{name}"),
    ]

    for reply in replies:
        assert refused(reply, "model_retired") == words
        assert reply.error["param"] == "model"
    assert story.arrived == []


def test_retired_name_that_an_owner_uses_is_his_model(nginx, story):
    with_retired(nginx, story)

    refused(nginx.ask("POST", "/v1/chat/completions", {"model": "rest:7b"}), "model_not_enabled")


@pytest.mark.parametrize("name", ["constructor", "__proto__", "reason", "instead"])
def test_words_of_the_list_are_no_retired_names(nginx, story, name):
    with_retired(nginx, story)

    refused(nginx.ask("POST", "/v1/chat/completions", {"model": name}), "model_not_found")


def test_model_that_is_not_enabled_says_how(nginx):
    how = "sudo spark-model enable resting"
    by_body = nginx.ask("POST", "/v1/chat/completions", {"model": "rest:7b"})
    by_path = nginx.ask("POST", "/v1/resting/chat/completions", {})
    listed = nginx.ask("GET", "/v1/models/resting")

    for reply in (by_body, by_path, listed):
        assert how in refused(reply, "model_not_enabled")


def test_model_that_was_enabled_a_moment_ago_is_served(nginx):
    # Its socket has touched the marker, and the list is not written anew yet.
    marker = nginx.run / "sockets/resting"
    marker.parent.mkdir(exist_ok=True)
    marker.touch()
    try:
        reply = nginx.ask("POST", "/v1/chat/completions", {"model": "rest:7b"})
        listing = nginx.ask("GET", "/v1/models")
    finally:
        marker.unlink()

    # Passed on: nothing listens there in this test.
    refused(reply, "bad_gateway")
    assert "resting" in [model["id"] for model in listing.json["data"]]


def test_model_that_does_not_listen(nginx):
    # The socket was stopped, and the list is not written anew yet.
    for reply in (
        nginx.ask("POST", "/v1/chat/completions", {"model": "gone"}),
        nginx.ask("GET", "/v1/gone/models"),
    ):
        refused(reply, "bad_gateway")


def test_model_that_closes_without_an_answer(nginx, story):
    story.answer = lambda request: request.connection.shutdown(socket.SHUT_RDWR)

    refused(nginx.ask("POST", "/v1/story/completions", {}), "bad_gateway")
    # A second try would be a second generation.
    assert len(story.arrived) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 405, 413, 429, 500, 502, 503, 504])
def test_errors_of_the_activator_pass_through(nginx, story, status):
    body = b'{"error":{"message":"of the activator"}}'

    def answer(request):
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Retry-After", "17")
        request.send_header("X-Busy-Model", "other")
        request.end_headers()
        request.wfile.write(body)

    story.answer = answer
    reply = nginx.ask("POST", "/v1/story/completions", {})

    assert (reply.status, reply.body) == (status, body)
    assert (reply.headers["Retry-After"], reply.headers["X-Busy-Model"]) == ("17", "other")


def test_engine_cannot_steer_nginx(nginx, story):
    def answer(request):
        request.send_response(200)
        request.send_header("X-Accel-Redirect", "/healthz")
        request.send_header("Content-Length", "2")
        request.end_headers()
        request.wfile.write(b"ok")

    story.answer = answer
    assert nginx.ask("POST", "/v1/story/completions", {}).body == b"ok"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"model": "story"',
        b'{"model": "story",}',
        b'{"model": "story"} {}',
        b"[]",
        b'"story"',
        b"null",
        b"\xff\xfe",
        b"model=story",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_body_that_is_not_a_json_object(nginx, story, body):
    refused(nginx.ask("POST", "/v1/chat/completions", body), "invalid_request")
    assert story.arrived == []


FILLER = "x" * 1_100_000


@pytest.mark.parametrize(
    "body",
    [
        f'{{"model": "story", "a": "{FILLER}"',
        f'{{"model": "story", "a": "{FILLER}',
        f'{{"model": "story", "a": "{FILLER}"}} {{}}',
        f'{{"model": "story", "a": "{FILLER}"}}}}',
        f'["model", "story", "{FILLER}"]',
        f'"{FILLER}"',
        f'{{"model": 5, "a": "{FILLER}"}}',
        f'{{"model": {{"model": "story"}}, "a": "{FILLER}"}}',
        f'{{"a": "{FILLER}"}}',
        " " * 1_100_000,
    ],
    ids=lambda body: re.sub(r"([x ])\1{9,}", "…", body),
)
def test_large_body_that_names_no_model(nginx, story, body):
    refused(nginx.ask("POST", "/v1/chat/completions", body.encode()), "invalid_request")
    assert story.arrived == []


def test_large_body_with_a_large_name(nginx):
    message = refused(
        nginx.ask("POST", "/v1/chat/completions", {"model": FILLER}), "model_not_found"
    )
    assert len(message) < 400


@pytest.mark.parametrize("model", [None, 5, ["story"], {"id": "story"}, "", True])
def test_body_without_a_name(nginx, model):
    reply = nginx.ask("POST", "/v1/chat/completions", {"model": model})

    refused(reply, "invalid_request")
    assert reply.error["param"] == "model"


@pytest.mark.parametrize("name", ["__proto__", "constructor", "names", "toString", "story\n", " "])
def test_names_that_are_no_names(nginx, name):
    refused(nginx.ask("POST", "/v1/chat/completions", {"model": name}), "model_not_found")


def test_prototype_names_no_model(nginx):
    body = b'{"__proto__": {"model": "story"}}'

    assert "names no model" in refused(
        nginx.ask("POST", "/v1/completions", body), "invalid_request"
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH", "PROPFIND", "TRACE"])
def test_methods_that_are_not_served(nginx, story, method):
    for target in ("/v1/chat/completions", "/v1/story/chat/completions"):
        reply = nginx.ask(method, target)
        refused(reply, "method_not_allowed")
        assert set(reply.headers["Allow"].split(", ")) >= {"GET", "HEAD", "POST", "DELETE"}
    assert story.arrived == []


def test_method_that_names_no_model(nginx):
    reply = nginx.ask("GET", "/v1/chat/completions")

    assert "/v1/MODEL/chat/completions" in refused(reply, "method_not_allowed")
    assert reply.headers["Allow"] == "POST"
    assert nginx.ask("POST", "/v1/models", {}).headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("target", ["/", "/v1", "/v1/", "/v2/rerank", "/_spark/502", "/_spark/"])
def test_paths_that_are_not_served(nginx, target):
    refused(nginx.ask("POST", target, {"model": "story"}), "path_not_allowed")


def test_model_without_a_path(nginx, story):
    for target in ("/v1/story", "/v1/story/", "/v1/openai/gpt-story"):
        message = refused(nginx.ask("POST", target, {}), "path_not_allowed")
        assert "/chat/completions" in message
    assert story.arrived == []


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        # nginx decodes and normalises once; what it saw is what the activator gets.
        ("/v1/story/../echo/completions", "echo /v1/completions"),
        ("/v1/story/..%2fecho/completions", "echo /v1/completions"),
        ("/v1//story///completions", "story /v1/completions"),
        ("/v1/%73tory/complet%69ons", "story /v1/completions"),
        ("/v1/story/%2e%2e%2f%2e%2e%2fmetrics", None),
        ("/v1/story/..%252f..%252fmetrics", "story /v1/..%252f..%252fmetrics"),
        ("/v1/story/a%3Fb%23c", "story /v1/a%3Fb%23c"),
        ("/v1/story/a%0d%0aX-Evil:%20b", "story /v1/a%0D%0AX-Evil%3A%20b"),
        ("/v1/story/%c3%a9%E2%82%AC", "story /v1/%C3%A9%E2%82%AC"),
        ("/v1/stor%c3%bf/completions", None),
        ("/v1/%ff%fe/completions", None),
        ("/v1/story%00/completions", None),
        ("/v1/story;x/completions", None),
        ("/v1/../v1/story/completions?..%2f", "story /v1/completions?..%2f"),
        ("/../../etc/passwd", None),
    ],
)
def test_odd_paths(nginx, story, echo, target, arrives):
    head = (
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n"
    )
    answer = nginx.say(head.encode() + b"\r\n{}")

    arrived = [f"{server.name} {r.target}" for server in (story, echo) for r in server.arrived]
    assert arrived == ([arrives] if arrives else [])
    if arrives is None:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/1.1 40[04] ", head)
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_unicode_name(nginx, make_entry, story):
    # The catalog refuses such names; the script does not depend on that.
    nginx.route({"é": make_entry("é", story.port, "模型/七")})

    nginx.ask("POST", "/v1/completions", {"model": "模型/七"})
    nginx.ask("POST", "/v1/%E6%A8%A1%E5%9E%8B/%E4%B8%83/completions", {"model": "é"})
    assert [r.target for r in story.arrived] == ["/v1/completions", "/v1/completions"]
    assert "'模型/七'" in refused(
        nginx.ask("POST", "/v1/completions", {"model": "模型/七七"}), "model_not_found"
    )


def test_body_over_64_mib(nginx, story):
    head = (
        b"POST /v1/story/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n"
    )
    # Refused by its length alone: none of it has to be sent.
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE) as client:
        client.sendall(head % ((64 << 20) + 1))
        answer = client.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "body_too_large"
    assert story.arrived == []


def test_chunked_body_over_64_mib(nginx, story):
    piece = b"%x\r\n%s\r\n" % (1 << 20, b"x" * (1 << 20))
    head = (
        b"POST /v1/story/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE) as client:
        client.sendall(head)
        for _ in range(64):
            client.sendall(piece)
        client.sendall(b"5\r\nabcde\r\n")
        answer = client.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer
    assert story.arrived == []


def test_chunked_body_whose_framing_outgrows_the_buffer(nginx, story):
    # Six bytes of framing for each byte: 12 MB of content in 72 MB.
    body = b"1\r\n \r\n" * 12_000_000
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    answer = nginx.say(head + body + b"0\r\n\r\n")

    # In memory or not, it is answered, and the worker lives.
    assert re.match(rb"HTTP/1.1 4(00|13) ", answer)
    assert nginx.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n{}",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda request_: repr(request_[:60]),
)
def test_heads_that_nginx_refuses(nginx, story, request_):
    head, _, body = nginx.say(request_).partition(b"\r\n\r\n")

    if head.startswith(b"HTTP/"):
        assert re.match(rb"HTTP/1.1 4\d\d ", head)
        error = json.loads(body)["error"]
    else:
        # What is not HTTP/1 at all is answered as HTTP/0.9: without a head.
        error = json.loads(head)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert story.arrived == []


@pytest.mark.parametrize("text", [None, "", "{", "null", "[]", '{"models": []}', '{"models": 5}'])
def test_list_that_cannot_be_read(nginx, make_entry, story, text):
    nginx.routes.unlink()
    if text is not None:
        nginx.routes.write_text(text)

    for reply in (
        nginx.ask("GET", "/v1/models"),
        nginx.ask("POST", "/v1/chat/completions", {"model": "story"}),
        nginx.ask("POST", "/v1/story/chat/completions", {}),
    ):
        assert "spark-models.service" in refused(reply, "routes_unavailable")
    assert nginx.ask("GET", "/healthz").status == 200

    # It heals by itself.
    nginx.route({"story": make_entry("story", story.port)})
    assert nginx.ask("POST", "/v1/chat/completions", {"model": "story"}).status == 200


@pytest.mark.parametrize(
    "broken",
    [None, 5, "x", [], {}, {"port": "80", "enabled": True, "names": ["b"]},
     {"port": 0, "enabled": True, "names": ["b"]}, {"port": 70000, "enabled": True, "names": ["b"]},
     {"port": 1.5, "enabled": True, "names": ["b"]}, {"port": 80, "enabled": True, "names": "b"},
     {"port": 80, "enabled": True, "names": [5, None]}],
)  # fmt: skip
def test_broken_entry_costs_that_model_alone(nginx, make_entry, story, broken):
    nginx.route({"b": broken, "story": make_entry("story", story.port)})

    assert nginx.ask("POST", "/v1/chat/completions", {"model": "story"}).status == 200
    assert "story" in [model["id"] for model in nginx.ask("GET", "/v1/models").json["data"]]
    refused(nginx.ask("POST", "/v1/bbbb/completions", {}), "model_not_found")


def test_every_refusal_of_the_scripts_is_in_the_table():
    table = (UNITS / "refusal.js").read_text().partition("const KINDS = {")[2].partition("};")[0]
    found = re.findall(r"(\w+): \{status: (\d+), type: '(\w+)'(?:, retry: (\d+))?\}", table)
    assert len(found) == table.count("status")

    for code, status, type_, retry in found:
        kind = REFUSALS[code]
        assert (int(status), type_) == (kind.status, kind.type)
        assert (int(retry) if retry else None) == kind.retry_after
    for script in UNITS.glob("*.js"):
        used = re.findall(r"Refused\('(\w+)'", script.read_text())
        assert set(used) <= {code for code, *_ in found}, script.name


def test_every_static_refusal_is_in_the_table():
    text = (UNITS / "spark.conf").read_text()
    found = re.findall(r"return (\d+) '(\{\"error.*?\})\\n'", text)
    assert len(found) == text.count('"code"')

    for status, body in found:
        error = json.loads(body)["error"]
        kind = REFUSALS[error["code"]]
        assert (int(status), error["type"]) == (kind.status, kind.type)

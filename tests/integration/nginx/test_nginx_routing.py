"""Which model a request reaches, and in which form."""

import json
import re
import socket
from pathlib import Path
from urllib.parse import quote

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nginx_process import PATIENCE

from spark_activator.catalog.names import CLIENT_NAME

UNITS = Path(__file__).parents[3] / "units/nginx"
FRAMING = ("Content-Length", "Transfer-Encoding")
# Bodies of more than 1 MiB are scanned, smaller ones parsed.
FILLER = "y" * 1_100_000


def test_path_names_the_model(nginx, story):
    reply = nginx.ask("POST", "/v1/story/chat/completions?a=b%20c&d", {"messages": []})

    assert reply.status == 200
    assert reply.json == {"served_by": "story"}
    assert story.last.target == "/v1/chat/completions?a=b%20c&d"
    assert json.loads(story.last.body) == {"messages": []}


def test_body_names_the_model(nginx, echo):
    body = b'{"stream" : false, "model":"echo", "n": 9007199254740993}'
    reply = nginx.ask("POST", "/v1/chat/completions?x=1", body)

    assert reply.json == {"served_by": "echo"}
    assert echo.last.target == "/v1/chat/completions?x=1"
    # Byte for byte: numbers that JavaScript cannot hold, and white space.
    assert echo.last.body == body


@pytest.mark.parametrize(
    "target",
    [
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages?beta=true",
        "/v1/messages/count_tokens",
        "/v1/rerank",
        "/v1/responses/resp_1/cancel",
    ],
)
def test_every_post_of_the_api_goes_by_the_body(nginx, story, target):
    assert nginx.ask("POST", target, {"model": "story"}).status == 200
    assert story.last.target == target


@pytest.mark.parametrize("name", ["story", "openai/gpt-story", "story-precise"])
def test_every_name_works_by_body_and_by_path(nginx, story, name):
    nginx.ask("POST", "/v1/chat/completions", {"model": name})
    nginx.ask("POST", f"/v1/{name}/completions", {})
    nginx.ask("POST", f"/v1/{quote(name, safe='')}/embeddings", {})

    assert [request.target for request in story.arrived] == [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
    ]


def test_base_url_of_a_client_that_adds_v1_itself(nginx, story):
    assert nginx.ask("POST", "/v1/story/v1/messages?beta=true", {}).status == 200
    assert story.last.target == "/v1/messages?beta=true"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_other_methods_go_by_path(nginx, story, method):
    assert nginx.ask(method, "/v1/story/responses/resp_1").status == 200
    assert (story.last.method, story.last.target) == (method, "/v1/responses/resp_1")


def test_model_that_is_silent_in_the_body_is_taken_from_the_path(nginx, story):
    # No name in the body is no disagreement; the engine has a default.
    assert nginx.ask("POST", "/v1/story/chat/completions", {"messages": []}).status == 200
    assert nginx.ask("POST", "/v1/story/responses/resp_1/cancel").status == 200
    assert len(story.arrived) == 2


def test_names_of_one_engine_agree(nginx, story):
    reply = nginx.ask("POST", "/v1/story/chat/completions", {"model": "openai/gpt-story"})

    assert reply.status == 200
    assert json.loads(story.last.body) == {"model": "openai/gpt-story"}


def test_body_that_is_not_json_reaches_the_engine_by_path(nginx, story):
    # What is broken gets the engine's own answer.
    form = b'--x\r\nContent-Disposition: form-data; name="model"'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    assert nginx.ask("POST", "/v1/story/audio/transcriptions", form, headers).status == 200
    assert nginx.ask("POST", "/v1/story/chat/completions", b'{"model":').status == 200
    assert [request.body for request in story.arrived] == [form, b'{"model":']


def test_last_of_two_models_counts(nginx, echo):
    nginx.ask("POST", "/v1/completions", b'{"model": "story", "model": "echo"}')

    assert len(echo.arrived) == 1


def nested(depth: int) -> object:
    value: object = {"model": "story"}
    for _ in range(depth):
        value = {"items": [value]}
    return value


def test_schema_nested_deeper_than_njs_parses(nginx, echo):
    body = {"tools": nested(40), "model": "echo", "metadata": {"model": "story"}}

    assert nginx.ask("POST", "/v1/chat/completions", body).status == 200
    assert json.loads(echo.last.body) == body


@pytest.mark.parametrize("ascii_only", [True, False])
def test_large_body_is_searched_like_a_small_one(nginx, echo, ascii_only):
    # Beyond 1 MiB the scanner looks, not the parser: strings that look like keys,
    # quotes behind backslashes and nested models must not lead it astray.
    body = {
        "messages": [
            {"role": "user", "content": '"model": "story", \\" \\\\ é {[ '},
            {"model": "story", "content": "x" * 1_100_000},
            "model",
            "\\",
        ],
        "tools": nested(3),
        "prompt": list(range(5000)),
        "other": "model",
        "model": "echo",
        "last": {"model": "story"},
        "n": [1, 2.5, None, True],
    }
    data = json.dumps(body, ensure_ascii=ascii_only).encode() + b" \r\n"

    assert nginx.ask("POST", "/v1/chat/completions", data).status == 200
    assert echo.last.body == data


@pytest.mark.parametrize(
    ("body", "served_by"),
    [
        ('{"m\\u006fdel": "ech\\u006f"%s}', "echo"),
        ('\n {"model" :\t"story" %s, "model":"echo"}', "echo"),
        ('{"a": {}%s, "model": "story"}', "story"),
    ],
)
def test_scanner_and_parser_agree(nginx, body, served_by):
    small = body % ""
    large = body % (f', "filler": "{FILLER}"')

    for text in (small, large):
        assert json.loads(text)["model"] == served_by
        reply = nginx.ask("POST", "/v1/completions", text.encode())
        assert reply.json == {"served_by": served_by}


TEXT = st.text(st.sampled_from('model":{}[],\\\n é\x00'), max_size=12) | st.just("model")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@settings(
    max_examples=60,
    deadline=None,
    # Nothing of an example is left for the next one.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    before=st.dictionaries(TEXT, VALUES, max_size=4),
    after=st.dictionaries(TEXT, VALUES, max_size=4),
    model=st.sampled_from(["story", "echo"]),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_scanner_finds_what_a_parser_finds(nginx, before, after, model, indent, ascii_only):
    after.pop("model", None)
    body = {**before, "filler": FILLER, "model": model, **after}
    data = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode()

    assert nginx.ask("POST", "/v1/completions", data).json == {"served_by": model}


def test_twenty_megabytes(nginx, echo):
    data = json.dumps({"input": "A" * 20_000_000, "model": "echo"}).encode()

    assert nginx.ask("POST", "/v1/chat/completions", data).status == 200
    assert echo.last.body == data
    assert echo.last.headers["Content-Length"] == str(len(data))


def test_body_at_the_limit_of_64_mib(nginx, echo):
    frame = b'{"model":"echo","input":"%s"}'
    data = frame % (b"A" * ((64 << 20) - len(frame) + 2))
    assert len(data) == 64 << 20

    assert nginx.ask("POST", "/v1/completions", data).status == 200
    assert len(echo.last.body) == len(data)


def test_chunked_body_arrives_with_its_length(nginx, echo):
    data = b'{"model":"echo","x":"%s"}' % (b"A" * 300_000)
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    answer = nginx.say(head + chunked + b"0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert echo.last.body == data
    # One framing and no second one that could say otherwise.
    framed = [pair for pair in echo.last.raw_headers if pair[0] in FRAMING]
    assert framed == [("Content-Length", str(len(data)))]


@pytest.mark.parametrize("target", ["/v1/completions", "/v1/echo/completions"])
@pytest.mark.parametrize("chunked", [True, False])
def test_letter_that_is_split_between_packets_arrives_whole(nginx, echo, target, chunked):
    data = '{"model":"echo","x":"héllo 世界 🎉"}'.encode()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(data)
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        client.sendall(head.encode() + framing + b"\r\n\r\n")
        for byte in data:
            client.sendall(b"1\r\n%c\r\n" % byte if chunked else b"%c" % byte)
        client.sendall(b"0\r\n\r\n" if chunked else b"")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

    assert echo.last.body == data
    framed = [name for name, _ in echo.last.raw_headers if name in FRAMING]
    assert framed == ["Content-Length"]


def test_http_1_0_without_a_host_is_served(nginx, story):
    answer = nginx.say(b"POST /v1/story/completions HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")

    assert answer.startswith(b"HTTP/1.1 200 ")
    # The activator wants one of who speaks HTTP/1.1 to it, as nginx does.
    assert story.last.headers["Host"] == "localhost"


def test_what_the_activator_is_told(nginx, story):
    (nginx.config / "hosts").write_text("spark.local\n")
    nginx.ask(
        "POST",
        "/v1/story/completions",
        {},
        {
            "Host": "spark.local:8009",
            "Origin": "http://localhost:3000",
            "Authorization": "Bearer sk-1",
            "X-Forwarded-For": "8.8.8.8",
            "X-Forwarded-Host": "evil",
            "Forwarded": "for=8.8.8.8",
            "Upgrade": "websocket",
            "Connection": "keep-alive, Upgrade",
        },
    )
    told = {key.lower(): value for key, value in story.last.headers.items()}

    assert told["host"] == "spark.local:8009"
    assert told["authorization"] == "Bearer sk-1"
    assert told["connection"] == "close"
    assert told["x-forwarded-for"] == "127.0.0.1"
    unsaid = {"x-forwarded-host", "x-forwarded-proto", "forwarded", "upgrade", "origin"}
    assert not unsaid & set(told)
    assert len(story.last.raw_headers) == len(told)


def test_list_of_models(nginx, story, echo):
    listed = nginx.ask("GET", "/v1/models")

    assert listed.status == 200
    assert listed.headers["Content-Type"] == "application/json"
    assert listed.json["object"] == "list"
    assert [model["id"] for model in listed.json["data"]] == [
        "echo",
        "gone",
        "story",
        "openai/gpt-story",
        "story-precise",
    ]
    assert listed.json["data"][0] == {
        "id": "echo",
        "object": "model",
        "created": 0,
        "owned_by": "spark-activator",
        "root": "echo",
        "parent": None,
        "max_model_len": 4096,
        "capabilities": {},
        "state": "not loaded",
    }
    assert story.arrived == echo.arrived == []


def test_list_says_where_each_model_is_and_what_it_can(nginx, make_entry, story):
    known = {"tools": "full", "vision": True}
    nginx.route({"story": make_entry("story", story.port, "tale", capabilities=known)})
    nginx.show("story", "weights")
    listed = nginx.ask("GET", "/v1/models").json["data"]
    one = nginx.ask("GET", "/v1/models/tale").json

    assert [(item["id"], item["root"], item["parent"]) for item in listed] == [
        ("story", "story", None),
        ("tale", "story", "story"),
    ]
    assert listed[1] == one
    assert (one["capabilities"], one["state"]) == (known, "weights")
    assert story.arrived == []


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"phase": 5}', '{"phase": "ready"}'])
def test_state_that_cannot_be_read_is_none(nginx, text):
    (nginx.states / "story.json").write_text(text)
    (nginx.states / "..json").write_text(text)

    assert nginx.ask("GET", "/v1/models/story").json["state"] == "not loaded"
    assert {m["state"] for m in nginx.ask("GET", "/v1/models").json["data"]} == {"not loaded"}


def test_one_model(nginx, story):
    for target in ("/v1/models/openai/gpt-story", "/v1/models/openai%2Fgpt-story"):
        assert nginx.ask("GET", target).json["id"] == "openai/gpt-story"

    head = nginx.ask("HEAD", "/v1/models/story")
    assert (head.status, head.body) == (200, b"")
    assert story.arrived == []


# The second is where benchmarks look that know vLLM.
@pytest.mark.parametrize("target", ["/healthz", "/health"])
def test_healthz(nginx, story, echo, target):
    reply = nginx.ask("GET", target)

    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert story.arrived == echo.arrived == []


def test_list_in_another_shape_is_read_as_well(nginx, make_entry, story, echo):
    # Lines make it fast; nothing depends on them.
    models = {
        "story": make_entry("story", story.port, "openai/gpt-story"),
        "echo": make_entry("echo", echo.port),
    }
    for text in (json.dumps({"models": models}), json.dumps({"models": models}, indent=1)):
        nginx.routes.write_text(text)

        assert nginx.ask("POST", "/v1/completions", {"model": "echo"}).json["served_by"] == "echo"
        by_path = nginx.ask("POST", "/v1/openai/gpt-story/completions", {})
        assert by_path.json["served_by"] == "story"
        assert nginx.ask("GET", "/v1/models/openai/gpt-story").json["root"] == "story"


@pytest.mark.parametrize(
    ("target", "served_by", "path"),
    [
        ("/v1/a/completions", "story", "/v1/completions"),
        ("/v1/a/b/completions", "echo", "/v1/completions"),
        ("/v1/a/bc/completions", None, None),
        ("/v1/a/chat/completions", "story", "/v1/chat/completions"),
    ],
)
def test_longest_name_of_a_path_wins(nginx, make_entry, story, echo, target, served_by, path):
    nginx.route({"a": make_entry("a", story.port), "x": make_entry("x", echo.port, "a/b")})

    nginx.ask("POST", target, {})
    arrived = [("story", r.target) for r in story.arrived] + [
        ("echo", r.target) for r in echo.arrived
    ]
    assert arrived == ([(served_by, path)] if served_by else [("story", "/v1/bc/completions")])


def test_of_two_models_with_a_name_the_enabled_one_serves(nginx, make_entry, story, echo):
    nginx.route(
        {
            "a": make_entry("a", story.port, "both", enabled=False),
            "b": make_entry("b", echo.port, "both"),
        }
    )

    assert nginx.ask("POST", "/v1/completions", {"model": "both"}).json["served_by"] == "echo"


def test_list_changes_without_a_reload(nginx, make_entry, story, echo):
    def ids() -> list[str]:
        return [model["id"] for model in nginx.ask("GET", "/v1/models").json["data"]]

    nginx.route({"a": make_entry("a", story.port)})
    first = (ids(), nginx.ask("POST", "/v1/completions", {"model": "a"}).json)
    nginx.route({"a": make_entry("a", echo.port), "b": make_entry("b", story.port)})
    second = (ids(), nginx.ask("POST", "/v1/completions", {"model": "a"}).json)

    assert first == (["a"], {"served_by": "story"})
    assert second == (["a", "b"], {"served_by": "echo"})


def test_models_of_the_openai_sdk(nginx, story, echo):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{nginx.port}/v1", api_key="x") as client:
        assert "openai/gpt-story" in [model.id for model in client.models.list()]
        assert client.models.retrieve("openai/gpt-story").owned_by == "spark-activator"
        with pytest.raises(openai.NotFoundError) as raised:
            client.models.retrieve("stori")

    assert raised.value.code == "model_not_found"
    assert story.arrived == echo.arrived == []


@pytest.mark.parametrize("name", ["chat", "models", "responses"])
def test_paths_of_the_api_win_over_models(nginx, make_entry, story, echo, name):
    nginx.route({name: make_entry(name, story.port), "echo": make_entry("echo", echo.port)})

    nginx.ask("POST", "/v1/chat/completions", {"model": "echo"})
    listed = nginx.ask("GET", "/v1/models")

    assert listed.json["object"] == "list"
    assert (len(echo.arrived), len(story.arrived)) == (1, 0)


def test_paths_of_the_api_are_the_names_that_the_catalog_refuses():
    script = (UNITS / "route.js").read_text()
    ours = re.search(r"const API = \((.*?)\)\.split", script, re.DOTALL)
    catalogs = re.search(r"\(\?!\(\?:([a-z0-9_|]+)\)", CLIENT_NAME)
    assert ours
    assert catalogs

    assert set("".join(re.findall(r"'(.*?)'", ours[1])).split()) == set(catalogs[1].split("|"))

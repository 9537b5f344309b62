"""Everything else that the demo engine serves, in vLLM's shapes."""

import base64
import json
import os
import socket
import struct

import pytest
from demo_engine import LIMIT, DemoEngine, chat, events

from spark_activator.demo.text import is_complete

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("look", "bash")
]
CALL = 'please call bash {"command": "ls -l", "n": [1]} and call look {"at": "it"} and call nix {}'


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    # pytest's own directories are longer than the path of a socket may be.
    with DemoEngine(tmp_path_factory.mktemp("e"), "--allow-faults", "--max-model-len", "500",
                    socket_args=("--port", "0")) as engine:  # fmt: skip
        line = engine.log.wait_for("Uvicorn running on http")
        port = int(line.partition("http://127.0.0.1:")[2].split()[0])
        engine.connect = lambda: socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        yield engine


def post(engine, path, body, status=200, headers=None):
    answer = engine.ask("POST", path, body, headers)
    assert answer.status == status, answer.raw
    return json.loads(answer.raw)


def named_events(raw):
    """Take a stream of named events apart; the names stand in the data, too."""
    found = []
    for part in raw.split(b"\n\n"):
        if part:
            name, _, data = part.partition(b"\n")
            event = json.loads(data.removeprefix(b"data: "))
            assert name == b"event: " + event["type"].encode()
            found.append(event)
    return found


def test_tools_are_called_as_the_prompt_says(engine):
    body = post(engine, "/v1/chat/completions", chat(CALL, tools=TOOLS))

    [choice] = body["choices"]
    calls = [call["function"] for call in choice["message"]["tool_calls"]]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert [call["name"] for call in calls] == ["bash", "look"]
    assert json.loads(calls[0]["arguments"]) == {"command": "ls -l", "n": [1]}


def test_streamed_calls_come_in_pieces(engine):
    raw = engine.ask("POST", "/v1/chat/completions", chat(CALL, tools=TOOLS, stream=True)).raw

    *chunks, done = events(raw)
    assert done == b"[DONE]"
    names, arguments, ids = {}, {}, set()
    for chunk in chunks:
        for call in chunk["choices"][0]["delta"].get("tool_calls", []):
            if call.get("id"):
                ids.add(call["id"])
                names[call["index"]] = call["function"]["name"]
            piece = call["function"].get("arguments", "")
            arguments.setdefault(call["index"], []).append(piece)
    assert names == {0: "bash", 1: "look"}
    assert len(ids) == 2
    assert json.loads("".join(arguments[0])) == {"command": "ls -l", "n": [1]}
    assert len(arguments[0]) > 3
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("more", "called"),
    [
        ({}, None),
        ({"tools": TOOLS}, "bash"),
        ({"tools": TOOLS, "tool_choice": "none"}, None),
        ({"tools": TOOLS, "tool_choice": "required"}, "bash"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "look"}}},
         "look"),
    ],
)  # fmt: skip
def test_choice_of_tools_is_obeyed(engine, more, called):
    text = 'call bash {"a": 1}' if called != "look" else "x"
    message = post(engine, "/v1/chat/completions", chat(text, **more))["choices"][0]["message"]

    if called is None:
        assert is_complete(message["content"])
        assert "tool_calls" not in message
    else:
        [call] = message["tool_calls"]
        assert call["function"]["name"] == called


def test_results_of_tools_are_answered_by_text(engine):
    body = chat(CALL, tools=TOOLS, tool_choice="auto")
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "1", "content": CALL},
    ]
    [choice] = post(engine, "/v1/chat/completions", body)["choices"]
    assert choice["finish_reason"] == "stop"
    assert is_complete(choice["message"]["content"])


def test_messages_are_anthropics(engine):
    messages = [{"role": "user", "content": [{"type": "text", "text": "tell me"}]}]
    body = {"model": "demo", "max_tokens": 30, "system": "be brief", "messages": messages}
    whole = post(engine, "/v1/messages?beta=true", body)
    stream = named_events(engine.ask("POST", "/v1/messages", {**body, "stream": True}).raw)

    assert whole["type"] == "message"
    assert whole["stop_reason"] == "max_tokens"
    assert whole["usage"] == {"input_tokens": 4, "output_tokens": 30}
    assert [e["type"] for e in stream if e["type"] != "content_block_delta"] == [
        "message_start", "content_block_start", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    said = "".join(e["delta"]["text"] for e in stream if e["type"] == "content_block_delta")
    assert [{"type": "text", "text": said}] == whole["content"]
    assert stream[-2]["usage"] == whole["usage"]
    count = post(engine, "/v1/messages/count_tokens", body)
    assert count["input_tokens"] == 4


def test_messages_call_tools_and_take_results(engine):
    tools = [{"name": "bash", "input_schema": {"type": "object"}}]
    body = {"model": "demo", "max_tokens": 30, "tools": tools,
            "messages": [{"role": "user", "content": CALL}]}  # fmt: skip
    [block] = post(engine, "/v1/messages", body)["content"]
    stream = named_events(engine.ask("POST", "/v1/messages", {**body, "stream": True}).raw)

    assert block["type"] == "tool_use"
    assert block["input"] == {"command": "ls -l", "n": [1]}
    pieces = [e["delta"]["partial_json"] for e in stream if e["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == block["input"]
    assert stream[-2]["delta"]["stop_reason"] == "tool_use"

    result = {"type": "tool_result", "tool_use_id": block["id"], "content": "total 0"}
    body["messages"] += [
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [result, {"type": "text", "text": CALL}]},
    ]
    assert post(engine, "/v1/messages", body)["content"][0]["type"] == "text"


def test_errors_of_messages_are_anthropics(engine):
    messages = [{"role": "user", "content": "x"}]
    for body in ({"messages": messages}, {"messages": messages, "max_tokens": 501}):
        told = post(engine, "/v1/messages", body, status=400)
        assert told["type"] == "error"
        assert told["error"]["type"] == "BadRequestError"


def test_responses_stream_what_they_say_at_once(engine):
    body = {"model": "demo", "input": "tell me", "instructions": "be brief"}
    whole = post(engine, "/v1/responses", body)
    stream = named_events(engine.ask("POST", "/v1/responses", {**body, "stream": True}).raw)

    assert whole["status"] == "completed"
    [item] = whole["output"]
    assert is_complete(item["content"][0]["text"])
    assert [e["sequence_number"] for e in stream] == list(range(len(stream)))
    said = "".join(e["delta"] for e in stream if e["type"] == "response.output_text.delta")
    assert said == item["content"][0]["text"]
    last = stream[-1]["response"]
    assert stream[-1]["type"] == "response.completed"
    assert last["output"][0]["content"] == item["content"]
    assert last["usage"] == whole["usage"]
    assert post(engine, "/v1/responses", {**body, "max_output_tokens": 3})["status"] == "incomplete"


def test_responses_call_functions(engine):
    tools = [{"type": "function", "name": "bash"}, {"type": "web_search"}]
    body = {"model": "demo", "input": [{"role": "user", "content": CALL}], "tools": tools}
    [item] = post(engine, "/v1/responses", body)["output"]
    assert item["type"] == "function_call"
    assert json.loads(item["arguments"]) == {"command": "ls -l", "n": [1]}

    stream = named_events(engine.ask("POST", "/v1/responses", {**body, "stream": True}).raw)
    kind = "response.function_call_arguments.delta"
    pieces = [e["delta"] for e in stream if e["type"] == kind]
    assert "".join(pieces) == item["arguments"]

    result = {"type": "function_call_output", "call_id": item["call_id"], "output": CALL}
    [answer] = post(engine, "/v1/responses", {**body, "input": [*body["input"], item, result]})[
        "output"
    ]
    assert answer["type"] == "message"


def test_responses_are_kept_and_cancelled(engine):
    kept = post(engine, "/v1/responses", {"model": "demo", "input": "tell me"})
    assert json.loads(engine.ask("GET", f"/v1/responses/{kept['id']}").raw) == kept
    assert post(engine, f"/v1/responses/{kept['id']}/cancel", b"", status=400)
    assert engine.ask("GET", "/v1/responses/resp_nobody").status == 404

    body = {"model": "demo", "input": "fault: hang after 2", "background": True}
    running = post(engine, "/v1/responses", body)
    assert running["status"] in ("queued", "in_progress")
    cancelled = post(engine, f"/v1/responses/{running['id']}/cancel", b"")
    assert cancelled["status"] == "cancelled"
    assert json.loads(engine.ask("GET", f"/v1/responses/{running['id']}").raw) == cancelled
    assert any(engine.metric("num_requests_running") == 0 for _ in range(100))


def test_embeddings_are_near_where_words_are(engine):
    body = {"model": "demo", "input": ["old fox", "fox old", "new moon"]}
    first, second, third = post(engine, "/v1/embeddings", body)["data"]
    packed = post(engine, "/v1/embeddings", {**body, "encoding_format": "base64"})["data"]

    assert first["embedding"] == second["embedding"] != third["embedding"]
    raw = base64.b64decode(packed[0]["embedding"])
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(first["embedding"])


def test_ranking_finds_the_document_with_the_words(engine):
    body = {"query": "old fox", "documents": ["new moon", "an old fox", "a fox"], "top_n": 2}
    results = post(engine, "/v1/rerank", body)["results"]
    assert [result["index"] for result in results] == [1, 2]
    assert results[0]["document"] == {"text": "an old fox"}

    scores = post(engine, "/v1/score", {"text_1": "old fox", "text_2": ["old fox", "moon"]})
    assert [round(one["score"], 3) for one in scores["data"]] == [1, 0]


def form(**fields):
    parts = b"".join(
        b'--XX\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), b'; filename="a.wav"' if name == "file" else b"", value)
        for name, value in fields.items()
    )
    return parts + b"--XX--\r\n", {"Content-Type": "multipart/form-data; boundary=XX"}


@pytest.mark.parametrize("path", ["transcriptions", "translations"])
def test_recordings_are_put_into_words(engine, path):
    sound = b"RIFF\r\n--X\r\n\r\n" + os.urandom(100_000)
    body, headers = form(model=b"demo", file=sound)
    told = post(engine, f"/v1/audio/{path}", body, headers=headers)
    assert is_complete(told["text"])

    body, headers = form(model=b"demo", file=sound, stream=b"true")
    *chunks, done = events(engine.ask("POST", f"/v1/audio/{path}", body, headers).raw)
    assert done == b"[DONE]"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == told["text"]

    other, headers = form(model=b"demo", file=sound[:-1])
    assert post(engine, f"/v1/audio/{path}", other, headers=headers) != told


def test_forms_that_are_none_are_refused(engine):
    whole, headers = form(model=b"demo", file=b"x")
    no_file, _ = form(model=b"demo")
    for body, kind in ((whole[:-6], headers), (no_file, headers), (whole, {})):
        assert post(engine, "/v1/audio/transcriptions", body, status=400, headers=kind)
    other, _ = form(model=b"other", file=b"x")
    assert post(engine, "/v1/audio/transcriptions", other, status=404, headers=headers)


def test_tokens_are_counted_as_in_answers(engine):
    asked = chat("one two three")
    count = post(engine, "/tokenize", {**asked, "return_token_strs": True})
    used = post(engine, "/v1/chat/completions", asked)["usage"]

    assert count["count"] == len(count["tokens"]) == used["prompt_tokens"] == 3
    assert count["token_strs"] == ["one", "two", "three"]
    assert count["max_model_len"] == 500
    assert post(engine, "/tokenize", {"model": "demo", "prompt": "a b"})["count"] == 2


def test_thoughts_come_first_where_they_are_wanted(tmp_path):
    with DemoEngine(tmp_path, "--reasoning", "5") as engine:
        engine.ready()
        thinking = post(engine, "/v1/chat/completions", chat("x"))["choices"][0]["message"]
        off = {"chat_template_kwargs": {"enable_thinking": False}}
        plain = post(engine, "/v1/chat/completions", chat("x", **off))["choices"][0]["message"]
        raw = engine.ask("POST", "/v1/messages", {"messages": [{"role": "user", "content": "x"}],
                                                  "max_tokens": 9, "stream": True}).raw  # fmt: skip

    assert is_complete(thinking["reasoning"])
    assert "reasoning" not in plain
    assert thinking["content"] == plain["content"]
    starts = [e["content_block"]["type"] for e in named_events(raw) if "content_block" in e]
    assert starts == ["thinking", "text"]


class Realtime:
    """A client's side of a WebSocket, small."""

    def __init__(self, engine, target="/v1/realtime?model=demo"):
        self.sock = engine.connect()
        self.sock.sendall(
            b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            % target.encode()
        )
        self.file = self.sock.makefile("rb")
        self.head = b"".join(iter(self.file.readline, b"\r\n"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def say(self, kind, **more):
        self.frame(1, json.dumps({"type": kind, **more}).encode())

    def frame(self, code, payload):
        mask = b"\x01\x02\x03\x04"
        size = len(payload)
        length = bytes([128 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.sock.sendall(bytes([128 | code]) + length + mask + masked)

    def hear(self):
        code, size = self.file.read(2)
        if size == 126:
            size = int.from_bytes(self.file.read(2), "big")
        payload = self.file.read(size)
        return json.loads(payload) if code == 129 else (code & 15, payload)


def test_realtime_puts_sound_into_words(engine):
    with Realtime(engine) as client:
        assert client.head.startswith(b"HTTP/1.1 101 ")
        # The answer of RFC 6455 to its own example.
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in client.head
        assert client.hear()["type"] == "session.created"
        client.say("input_audio_buffer.commit")
        assert client.hear()["code"] == "model_not_validated"
        client.say("session.update", model="demo")
        client.say("input_audio_buffer.commit")
        client.frame(9, b"still there?")
        assert client.hear() == (10, b"still there?")
        client.say("input_audio_buffer.append", audio=base64.b64encode(bytes(300)).decode())
        client.say("input_audio_buffer.commit", final=True)
        heard = []
        while (event := client.hear())["type"] == "transcription.delta":
            heard.append(event["delta"])
        assert event["type"] == "transcription.done"
        assert "".join(heard) == event["text"]
        assert is_complete(event["text"])
        client.frame(8, b"\x03\xe8")
        assert client.hear() == (8, b"\x03\xe8")
        assert client.file.read() == b""


def test_websocket_elsewhere_is_refused_as_uvicorn_does(engine):
    with Realtime(engine, "/v1/chat/completions") as client:
        assert client.head.startswith(b"HTTP/1.1 403 ")


def test_speech_is_a_file_that_plays(engine):
    answer = engine.ask("POST", "/v1/audio/speech", {"model": "demo", "input": "hello"})
    assert answer.getheader("content-type") == "audio/wav"
    assert answer.raw[:4] == b"RIFF"
    assert int.from_bytes(answer.raw[4:8], "little") == len(answer.raw) - 8

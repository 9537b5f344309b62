"""What clients see of a real activator while they wait for the engine."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anthropic
import h11
import openai
import pytest
import trio
from activator_process import (
    LIMIT,
    NAME,
    Answer,
    Asked,
    Claim,
    ScriptedRunner,
    Stage,
    TinyEngine,
    eventually,
    read_all,
    ready_script,
    says,
    wait_exit,
)

from spark_activator import protocol
from spark_activator.catalog.model import Requests

CHAT = "/v1/chat/completions"
QUICK = {
    "activator.opened.GRACE": 0.1,
    "activator.opened.PAUSE": 0.1,
    "activator.opened.NEWS_PAUSE": 0.02,
}
ENGINE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
ANSWER = b"data: 1\n\ndata: [DONE]\n\n"
CHUNKS = b"9\r\ndata: 1\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, constants=QUICK)
    yield stage
    stage.close()


class Steered:
    """A runner whose lines a test says one by one."""

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self._sender, self._lines = trio.open_memory_channel[protocol.Line](16)

    async def __call__(self, claim: Claim) -> None:
        self.claim = claim
        async for line in self._lines:
            await claim.say(line)

    async def say(self, line: protocol.Line) -> None:
        await self._sender.send(line)


@pytest.fixture
async def runner(stage: Stage, nursery: trio.Nursery) -> Steered:
    steered = Steered()
    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), steered).serve)
    return steered


def ask(path: str = CHAT, *fields: str, minor: int = 1, **body: object) -> bytes:
    data = json.dumps({"stream": True, **body}).encode()
    lines = [f"POST {path} HTTP/1.{minor}", "Host: a", f"Content-Length: {len(data)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + data


class Stream:
    """A stream that a client reads as far as it wants."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.raw = b""

    async def until(self, text: bytes) -> None:
        with trio.fail_after(LIMIT):
            while text not in self.raw:
                data = await self.stream.receive_some()
                assert data, self.raw
                self.raw += data

    async def rest(self) -> None:
        self.raw += await read_all(self.stream)

    @property
    def body(self) -> bytes:
        """All of it, unframed; an error where it is not complete."""
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(self.raw)
        client.receive_data(b"")
        head = client.next_event()
        assert isinstance(head, h11.Response)
        assert head.status_code == 200
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        return body

    def events(self) -> list[dict[str, Any]]:
        lines = self.body.decode().split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def answering(raw: bytes) -> Callable[[Asked], Awaitable[None]]:
    async def answer(asked: Asked) -> None:
        await asked.stream.send_all(raw)

    return answer


async def start_engine(stage: Stage, nursery: trio.Nursery, raw: bytes) -> TinyEngine:
    engine = TinyEngine(stage, "0a0b0c0d", answering(raw))
    await nursery.start(engine.serve)
    return engine


async def test_stream_tells_of_the_wait_and_then_has_the_engines_own_bytes(
    stage: Stage, runner: Steered, nursery: trio.Nursery
) -> None:
    chunked = ENGINE_HEAD + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS
    await start_engine(stage, nursery, chunked)
    async with stage.activator(), await stage.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask())
        await runner.say(protocol.Queued(2, ("tale",), 40.0))
        await client.until(b": queued: position 2, behind tale, about 40 s left\n\n")
        # Nothing new is said, and so it is said again.
        first, client.raw = client.raw, b""
        await client.until(b": queued: position 2, behind tale, about 40 s left\n\n")
        await runner.say(protocol.Starting("weights", 0.4, 30.0))
        await client.until(b": starting: weights 40%, about 30 s left\n\n")
        client.raw = first + client.raw
        await runner.say(protocol.Ready("0a0b0c0d"))
        await client.rest()

    assert client.raw.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
    assert client.raw.endswith(CHUNKS)
    assert client.body.endswith(ANSWER)


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize(
    "framed",
    [
        b"content-length: 23\r\n\r\n" + ANSWER,
        b"connection: close\r\n\r\n" + ANSWER,
        b"transfer-encoding: chunked\r\n\r\n" + CHUNKS,
    ],
    ids=["length", "close", "chunks"],
)
async def test_answer_is_framed_as_the_stream_was_opened(
    stage: Stage, runner: Steered, nursery: trio.Nursery, framed: bytes, minor: int
) -> None:
    await start_engine(stage, nursery, ENGINE_HEAD + framed)
    async with stage.activator(), await stage.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask(minor=minor))
        await client.until(b": asking")
        await runner.say(protocol.Ready("0a0b0c0d"))
        await client.rest()

    assert client.body.endswith(b"\n\n" + ANSWER)
    assert (b"chunked" in client.raw) is bool(minor)


@pytest.mark.parametrize(
    "framed",
    [b"content-length: 99\r\n\r\n" + ANSWER, b"transfer-encoding: chunked\r\n\r\n" + CHUNKS[:-5]],
    ids=["length", "chunks"],
)
async def test_answer_that_breaks_off_does_not_look_complete(
    stage: Stage, runner: Steered, nursery: trio.Nursery, framed: bytes
) -> None:
    await start_engine(stage, nursery, ENGINE_HEAD + framed)
    async with stage.activator(), await stage.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask())
        await client.until(b": asking")
        await runner.say(protocol.Ready("0a0b0c0d"))
        try:
            await client.rest()
        except trio.BrokenResourceError:
            return

    with pytest.raises(h11.RemoteProtocolError):
        assert client.body


FAILED = protocol.Failed("start_failed", "the engine ended: out of luck", 17)


async def test_failure_before_the_grace_keeps_its_status(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage, runner = Stage(tmp_path), Steered()
    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), runner).serve)
    async with stage.activator():
        await runner.say(FAILED)
        answer = await stage.ask(ask())
    stage.close()

    assert (answer.status, answer.code) == (503, "start_failed")
    assert answer.headers["retry-after"] == "17"


async def test_failure_after_the_grace_is_an_event(stage: Stage, runner: Steered) -> None:
    async with stage.activator(), await stage.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask())
        await client.until(b": asking")
        await runner.say(FAILED)
        await client.rest()

    [event] = client.events()
    assert event == {
        "error": {
            "message": "the engine ended: out of luck",
            "type": "server_error",
            "param": None,
            "code": "start_failed",
            "status": 503,
            "retry_after": 17,
        }
    }


async def test_request_without_a_stream_has_no_status_before_its_answer(
    stage: Stage, runner: Steered
) -> None:
    async with stage.activator(), await stage.connect() as connection:
        await connection.send_all(ask(stream=False))
        await eventually(lambda: runner.claim)
        with trio.move_on_after(0.3):  # three times the grace
            assert not await connection.receive_some()
        await runner.say(protocol.Failed("start_failed", "no", 17))
        assert (await read_all(connection)).startswith(b"HTTP/1.1 503 ")


async def test_engines_refusal_in_an_opened_stream_is_an_event_with_its_status(
    stage: Stage, runner: Steered, nursery: trio.Nursery
) -> None:
    said = b'{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}'
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
    await start_engine(stage, nursery, head + b"content-length: %d\r\n\r\n" % len(said) + said)
    async with stage.activator(), await stage.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask())
        await client.until(b": asking")
        await runner.say(protocol.Ready("0a0b0c0d"))
        await client.rest()

    [event] = client.events()
    assert event["error"]["message"] == "too long"
    assert event["error"]["status"] == 400
    assert "outcome=answered code=400" in stage.log()


async def test_client_that_leaves_an_opened_stream_is_not_in_flight_any_more(
    stage: Stage, runner: Steered
) -> None:
    async with stage.activator():
        async with await stage.connect() as connection:
            client = Stream(connection)
            await connection.send_all(ask())
            await client.until(b": asking")
        await eventually(
            lambda: runner.claim and runner.claim.lines and runner.claim.lines[-1]["in_flight"] == 0
        )
        assert not runner.claim or not runner.claim.ended


@pytest.mark.parametrize("minor", [0, 1])
async def test_client_that_leaves_an_opened_stream_ends_the_generation(
    stage: Stage, runner: Steered, nursery: trio.Nursery, minor: int
) -> None:
    left = trio.Event()

    async def answer(asked: Asked) -> None:
        chunked = b"transfer-encoding: chunked\r\n\r\n"
        await asked.stream.send_all(ENGINE_HEAD + chunked + CHUNKS[:14])
        with trio.fail_after(LIMIT):
            assert not await asked.stream.receive_some()
        left.set()

    await nursery.start(TinyEngine(stage, "0a0b0c0d", answer).serve)
    async with stage.activator():
        async with await stage.connect() as connection:
            client = Stream(connection)
            # To an old client the engine's chunks are passed by us.
            await connection.send_all(ask(minor=minor))
            await client.until(b": asking")
            await runner.say(protocol.Ready("0a0b0c0d"))
            await client.until(b"data: 1\n\n")
        with trio.fail_after(LIMIT):
            await left.wait()


async def test_refusal_after_the_wait_says_where_it_stands(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage, runner = Stage(tmp_path, constants={"activator.hold.LIMIT": 2.0}), Steered()
    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), runner).serve)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    async with stage.activator(), await stage.knock(ask(stream=False)):
        # Another one has asked for the model, so that it is known by now where that stands.
        line = protocol.Queued(2, ("b", "a"), holder="a", since=now - 90, due=now + 50.4)
        await runner.say(line)
        stands = "queued: position 2, behind b, a"
        await says(stage, f"{stands}, 1 held", stands)
        answer = await stage.ask(ask(stream=False))
    took = time.clock_gettime(time.CLOCK_BOOTTIME) - now
    stage.close()

    assert (answer.status, answer.code) == (503, "model_loading")
    # It came after two seconds at the earliest.
    assert 49 - took <= int(answer.headers["retry-after"]) <= 50
    assert answer.headers["x-busy-model"] == "a"
    assert answer.headers["x-spark-queue-position"] == "2"
    # A whole number of seconds.
    assert 90 <= int(answer.headers["x-model-uptime-sec"]) <= 90 + took + 1


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
async def test_opened_streams_cost_little_and_all_are_answered(
    stage: Stage, runner: Steered, nursery: trio.Nursery, count: int
) -> None:
    chunked = b"transfer-encoding: chunked\r\n\r\n"
    await start_engine(stage, nursery, ENGINE_HEAD + chunked + CHUNKS)
    clients: list[Stream] = []
    async with stage.activator() as process, AsyncExitStack() as connections:

        def memory() -> int:
            """KiB."""
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(status.partition("VmRSS:")[2].split()[0])

        await stage.get("/health")
        before = memory()
        for _ in range(count):
            connection = await stage.connect()
            clients.append(client := Stream(connection))
            await connections.enter_async_context(connection)
            await client.stream.send_all(ask(messages=TELL))
        for client in clients:
            await client.until(b": asking")
        # What a held request costs anyway: 12 KiB, measured.
        assert memory() - before < 2048 + 25 * count
        await runner.say(protocol.Ready("0a0b0c0d"))
        for client in clients:
            await client.rest()

    assert all(client.raw.endswith(CHUNKS) for client in clients)


async def test_stop_is_told_in_an_opened_stream(stage: Stage, runner: Steered) -> None:
    async with stage.activator() as process, await stage.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask())
        await client.until(b": asking")
        process.send_signal(signal.SIGTERM)
        await client.rest()
        await wait_exit(process)

    [event] = client.events()
    assert (event["error"]["code"], event["error"]["status"]) == ("shutting_down", 503)


async def test_loading_text_comes_as_reasoning(tmp_path: Path, nursery: trio.Nursery) -> None:
    stage = Stage(tmp_path, constants=QUICK, requests=Requests(loading_text=True))
    runner = Steered()
    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), runner).serve)
    chunked = ENGINE_HEAD + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS
    await start_engine(stage, nursery, chunked)
    async with stage.activator(), await stage.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask())
        await client.until(b"asking for the model")
        await runner.say(protocol.Starting("weights", 0.4))
        await client.until(b"weights 40%")
        await runner.say(protocol.Ready("0a0b0c0d"))
        await client.rest()
    stage.close()

    told = [event["choices"][0]["delta"]["reasoning_content"] for event in client.events()]
    assert told[:2] == ["asking for the model\n", "starting: weights 40%\n"]


# What an engine streams for each API, as SDKs need it; and how an SDK asks.
STORIES = {
    CHAT: [
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": NAME,
         "choices": [{"index": 0, "delta": {"role": "assistant", "content": "once"}}]},
    ],
    "/v1/completions": [
        {"id": "c", "object": "text_completion", "created": 1, "model": NAME,
         "choices": [{"index": 0, "text": "once", "finish_reason": "stop"}]},
    ],
    "/v1/responses": [
        {"type": "response.created", "sequence_number": 0, "response": {
            "id": "r", "object": "response", "created_at": 1, "model": NAME, "output": [],
            "status": "in_progress"}},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": {
            "id": "m", "type": "message", "role": "assistant", "content": [],
            "status": "in_progress"}},
        {"type": "response.content_part.added", "sequence_number": 2, "item_id": "m",
         "output_index": 0, "content_index": 0,
         "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", "sequence_number": 3, "item_id": "m",
         "output_index": 0, "content_index": 0, "delta": "once", "logprobs": []},
    ],
    "/v1/messages": [
        {"type": "message_start", "message": {
            "id": "m", "type": "message", "role": "assistant", "content": [], "model": NAME,
            "stop_reason": None, "usage": {"input_tokens": 1, "output_tokens": 0}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "text_delta", "text": "once"}},
        {"type": "message_stop"},
    ],
}  # fmt: skip
TELL = [{"role": "user", "content": "tell"}]


def chat_of(stage: Stage, http: openai.DefaultHttpxClient) -> list[str | None]:
    stream = openai_of(stage, http).chat.completions.create(model=NAME, messages=TELL, stream=True)  # type: ignore[call-overload]  # a plain dict is one
    return [chunk.choices[0].delta.content for chunk in stream]


def chat_helper_of(stage: Stage, http: openai.DefaultHttpxClient) -> list[str | None]:
    with openai_of(stage, http).chat.completions.stream(model=NAME, messages=TELL) as stream:  # type: ignore[arg-type]  # a plain dict is one
        return [event.delta for event in stream if event.type == "content.delta"]


def completion_of(stage: Stage, http: openai.DefaultHttpxClient) -> list[str]:
    stream = openai_of(stage, http).completions.create(model=NAME, prompt="tell", stream=True)
    return [chunk.choices[0].text for chunk in stream]


def response_of(stage: Stage, http: openai.DefaultHttpxClient) -> list[str]:
    stream = openai_of(stage, http).responses.create(model=NAME, input="tell", stream=True)
    return [event.delta for event in stream if event.type == "response.output_text.delta"]


def response_helper_of(stage: Stage, http: openai.DefaultHttpxClient) -> list[str]:
    with openai_of(stage, http).responses.stream(model=NAME, input="tell") as stream:
        return [event.delta for event in stream if event.type == "response.output_text.delta"]


def message_of(stage: Stage, http: openai.DefaultHttpxClient) -> list[str]:
    base = f"http://127.0.0.1:{stage.port}"
    client = anthropic.Anthropic(base_url=base, api_key="none", max_retries=0, http_client=http)
    with client.messages.stream(model=NAME, messages=TELL, max_tokens=9) as stream:  # type: ignore[arg-type]  # a plain dict is one
        return list(stream.text_stream)


def openai_of(stage: Stage, http: openai.DefaultHttpxClient) -> openai.OpenAI:
    base = f"http://127.0.0.1:{stage.port}/v1"
    return openai.OpenAI(base_url=base, api_key="none", max_retries=0, http_client=http)


Tell = Callable[[Stage, openai.DefaultHttpxClient], Sequence[str | None]]
SDKS = [
    pytest.param(CHAT, chat_of, id="openai-chat"),
    pytest.param(CHAT, chat_helper_of, id="openai-chat-helper"),
    pytest.param("/v1/completions", completion_of, id="openai-completions"),
    pytest.param("/v1/responses", response_of, id="openai-responses"),
    pytest.param("/v1/responses", response_helper_of, id="openai-responses-helper"),
    pytest.param("/v1/messages", message_of, id="anthropic-messages"),
]


@pytest.mark.parametrize(("path", "tell"), SDKS)
async def test_sdk_reads_the_story_behind_the_signs_of_life(
    stage: Stage,
    runner: Steered,
    nursery: trio.Nursery,
    path: str,
    tell: Tell,
) -> None:
    async def answer(asked: Asked) -> None:
        told = b"".join(
            f"event: {event.get('type', '')}\ndata: {json.dumps(event)}\n\n".encode()
            for event in STORIES[path]
        )
        await asked.stream.send_all(
            ENGINE_HEAD + b"transfer-encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(told), told)
        )

    await nursery.start(TinyEngine(stage, "0a0b0c0d", answer).serve)
    found: list[str | None] = []

    async def client() -> None:
        with openai.DefaultHttpxClient() as http:
            found.extend(await trio.to_thread.run_sync(tell, stage, http))

    async with stage.activator(), trio.open_nursery() as clients:
        clients.start_soon(client)
        await eventually(lambda: runner.claim)
        for share in (0.2, 0.4, 0.6):
            await runner.say(protocol.Starting("weights", share))
            await trio.sleep(0.15)  # more than the grace, and each sign
        await runner.say(protocol.Ready("0a0b0c0d"))

    assert "".join(text or "" for text in found) == "once"


@pytest.mark.parametrize(("path", "tell"), SDKS)
async def test_sdk_raises_what_failed_after_its_stream_was_opened(
    stage: Stage, runner: Steered, path: str, tell: Tell
) -> None:
    del path
    raised: list[Exception] = []
    opened = threading.Event()
    http = openai.DefaultHttpxClient(event_hooks={"response": [lambda _: opened.set()]})

    async def client() -> None:
        try:
            await trio.to_thread.run_sync(tell, stage, http)
        except (openai.APIError, anthropic.APIError) as error:
            raised.append(error)

    with http:
        async with stage.activator(), trio.open_nursery() as clients:
            clients.start_soon(client)
            await eventually(opened.is_set)
            await runner.say(protocol.Failed("memory_short", "no room for 'story'", 33))

    [error] = raised
    assert "no room for 'story'" in str(error)
    assert isinstance(error, (openai.APIError, anthropic.APIError))
    body: Any = error.body
    body = body.get("error", body)
    assert (body["code"], body["status"], body["retry_after"]) == ("memory_short", 503, 33)


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
WHOLE = {
    "id": "c", "object": "chat.completion", "created": 1, "model": NAME,
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": None, "tool_calls": [CALL]}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip
WITH_TOOL = {"messages": TELL, "tools": [TOOL], "stream_options": {"include_usage": True}}


def plain(body: object, status: bytes = b"200 OK") -> bytes:
    said = json.dumps(body).encode()
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(said)) + said


def buffering(tmp_path: Path, constants: dict[str, float]) -> Stage:
    return Stage(tmp_path, constants=constants, requests=Requests(stream_tools="buffer"))


@pytest.mark.parametrize("slow", [False, True], ids=["quick", "slow"])
async def test_whole_answer_is_told_as_the_stream_that_was_asked_for(
    tmp_path: Path, nursery: trio.Nursery, slow: bool
) -> None:
    buffered = buffering(tmp_path, QUICK if slow else {})
    go_on = trio.Event()

    async def answer(asked: Asked) -> None:
        raw = plain(WHOLE)
        await asked.stream.send_all(raw[:-9])
        await go_on.wait()
        await asked.stream.send_all(raw[-9:])

    engine = TinyEngine(buffered, "0a0b0c0d", answer)
    await nursery.start(engine.serve)
    runner = ScriptedRunner(buffered.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    async with buffered.activator(), await buffered.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask(**WITH_TOOL))
        if slow:
            await client.until(b": ready\n\n")
        go_on.set()
        await client.rest()

    [asked] = engine.asked
    assert "stream" not in json.loads(asked.body) or not json.loads(asked.body)["stream"]
    assert (b": ready" in client.body) is slow
    assert client.body.endswith(b"data: [DONE]\n\n")
    *chunks, usage = client.events()
    calls = [
        call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    buffered.close()
    assert calls == [{"index": 0, **CALL}]
    assert usage["usage"]["total_tokens"] == 5


@pytest.mark.parametrize("slow", [False, True], ids=["quick", "slow"])
async def test_refused_whole_answer_keeps_its_status_until_the_stream_is_opened(
    tmp_path: Path, nursery: trio.Nursery, slow: bool
) -> None:
    buffered, go_on = buffering(tmp_path, QUICK if slow else {}), trio.Event()

    async def answer(asked: Asked) -> None:
        await go_on.wait()
        await asked.stream.send_all(plain({"error": {"message": "no"}}, b"400 Bad Request"))

    await nursery.start(TinyEngine(buffered, "0a0b0c0d", answer).serve)
    runner = ScriptedRunner(buffered.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    async with buffered.activator(), await buffered.connect() as connection:
        client = Stream(connection)
        await connection.send_all(ask(**WITH_TOOL))
        if slow:
            await client.until(b": ready\n\n")
        go_on.set()
        await client.rest()
    buffered.close()

    if slow:
        [event] = client.events()
        assert (event["error"]["message"], event["error"]["status"]) == ("no", 400)
    else:
        early = Answer(client.raw)
        assert (early.status, json.loads(early.body)) == (400, {"error": {"message": "no"}})


@pytest.mark.parametrize(
    "raw",
    [
        plain(WHOLE)[:-9],
        plain({"choices": 5}),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (5 << 20),
    ],
    ids=["length", "nonsense", "chunks", "large"],
)
async def test_whole_answer_that_is_none_is_an_honest_bad_gateway(
    tmp_path: Path, nursery: trio.Nursery, raw: bytes
) -> None:
    buffered = buffering(tmp_path, {})
    await start_engine(buffered, nursery, raw)
    runner = ScriptedRunner(buffered.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    async with buffered.activator():
        answer = await buffered.ask(ask(**WITH_TOOL))
    buffered.close()

    assert (answer.status, answer.code) == (502, "bad_gateway")

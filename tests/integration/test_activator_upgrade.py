"""WebSockets through real activator processes: with real clients and servers of another make."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from activator_process import (
    LIMIT,
    NAME,
    Answer,
    Asked,
    ScriptedRunner,
    Stage,
    TinyEngine,
    answer_ok,
    eventually,
    read_all,
    ready_script,
    wait_exit,
)
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, unix_serve

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
TAKEN = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@contextmanager
def engine_of(
    stage: Stage, talk: Callable[[ServerConnection], None], **settings: Any
) -> Iterator[None]:
    """An engine that speaks WebSocket, in a thread of its own."""
    directory = stage.layout.upstream(NAME) / "0a0b0c0d"
    directory.mkdir()
    path = str(directory / "engine.sock")
    with unix_serve(talk, path, open_timeout=LIMIT, **settings) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def echo(client: ServerConnection) -> None:
    for message in client:
        client.send(message)


async def test_both_directions_pass_and_the_model_is_in_use_while_it_is_open(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage = Stage(tmp_path, idle=0.3)
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    asked: list[Any] = []
    large = bytes(range(256)) * 8192

    def talk(client: ServerConnection) -> None:
        asked.append(client.request)
        client.send("hello")
        echo(client)

    def converse() -> tuple[list[Any], str | None]:
        url = f"ws://127.0.0.1:{stage.port}/v1/realtime?model=story"
        with connect(
            url,
            subprotocols=["realtime", "openai-insecure-api-key.secret"],  # type: ignore[list-item]  # its type is a NewType of str
            additional_headers={"Authorization": "Bearer secret"},
            max_size=None,
            open_timeout=LIMIT,
        ) as client:
            client.send(large)
            heard = [client.recv(), client.recv()]
            threading.Event().wait(0.5)  # longer than the idle time
            client.send("still there?")
            return [*heard, client.recv()], client.subprotocol

    with engine_of(stage, talk, subprotocols=["realtime"], max_size=None):
        async with stage.activator() as process:
            heard, subprotocol = await trio.to_thread.run_sync(converse)
            assert await wait_exit(process) == 0

    assert heard == ["hello", large, "still there?"]
    assert subprotocol == "realtime"
    [request] = asked
    assert request.path == "/v1/realtime?model=story"
    assert "secret" not in str(request.headers)
    assert await runner.claims[0].last() == "bye"
    assert "asked=GET:/v1/realtime outcome=answered code=101" in stage.log()
    stage.close()


async def start(stage: Stage, nursery: trio.Nursery, *pieces: bytes) -> TinyEngine:
    """An engine that answers the handshake with *pieces* and then repeats what it hears."""

    async def answer(asked: Asked) -> None:
        for piece in pieces:
            await asked.stream.send_all(piece)
            await trio.sleep(0.02)  # in pieces of their own
        async for data in asked.stream:
            asked.body += data
            await asked.stream.send_all(data)

    engine = TinyEngine(stage, "0a0b0c0d", answer)
    await nursery.start(engine.serve)
    return engine


async def test_what_comes_with_the_heads_is_not_lost(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    engine = await start(stage, nursery, b"HTTP/1.1 103 Early\r\n\r\n", TAKEN + b"first")
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(HANDSHAKE + b"eager")
        received = b""
        while not received.endswith(b"eager"):
            received += await client.receive_some()
        await client.send_eof()
        assert await read_all(client) == b""

    answer = Answer(received)
    assert (answer.status, answer.body) == (101, b"firsteager")
    assert (answer.headers["connection"], answer.headers["upgrade"]) == ("Upgrade", "websocket")
    assert len(answer.headers["x-spark-request-id"]) == 16
    assert engine.asked[0].head.count(b"HTTP/1.1") == 1


async def test_client_that_leaves_is_seen_by_the_engine(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    ended = trio.Event()

    async def talk(asked: Asked) -> None:
        await asked.stream.send_all(TAKEN)
        assert await asked.stream.receive_some() == b""
        ended.set()

    await nursery.start(TinyEngine(stage, "0a0b0c0d", talk).serve)
    async with stage.activator():
        client = await stage.connect()
        await client.send_all(HANDSHAKE)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 101 ")
        await client.aclose()
        with trio.fail_after(LIMIT):
            await ended.wait()


@pytest.mark.parametrize(
    "answer",
    [
        TAKEN.replace(b"s3p", b"S3p"),
        TAKEN.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        TAKEN.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"",
    ],
)
async def test_engine_that_takes_another_handshake_gets_nothing_more(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery, answer: bytes
) -> None:
    async def say(asked: Asked) -> None:
        await asked.stream.send_all(answer)
        if answer:
            asked.body = await asked.stream.receive_some()

    engine = TinyEngine(stage, "0a0b0c0d", say)
    await nursery.start(engine.serve)
    async with stage.activator():
        got = await stage.ask(HANDSHAKE + b"GET /secret HTTP/1.1\r\n\r\n")
    assert (got.status, got.code) == (502, "bad_gateway")
    assert engine.asked[0].body == b""


async def test_engine_that_knows_no_websockets_answers_as_usual(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    engine = TinyEngine(stage, "0a0b0c0d", answer_ok)
    await nursery.start(engine.serve)
    async with stage.activator():
        got = await stage.ask(HANDSHAKE + b"GET /secret HTTP/1.1\r\n\r\n")
    assert (got.status, got.body) == (200, b"{}")
    assert b"secret" not in engine.asked[0].head + engine.asked[0].body


async def test_upgrade_that_nobody_may_ask_for_wakes_nothing(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    engine = await start(stage, nursery, TAKEN)
    async with stage.activator():
        elsewhere = await stage.ask(HANDSHAKE.replace(b"/v1/realtime", b"/v1/other"))
        plain = await stage.ask(b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not runner.claims
        # On other paths it is not heard, and the engine's 101 is not believed.
        posted = HANDSHAKE.replace(b"GET /v1/realtime", b"POST /v1/completions")
        posted = posted.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n{}")
        uncalled = await stage.ask(posted)
    assert elsewhere.code == "path_not_allowed"
    assert plain.code == "invalid_request"
    assert uncalled.code == "bad_gateway"
    assert b"upgrade" not in engine.asked[0].head.lower()


async def test_engine_that_breaks_off_breaks_the_clients_connection(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    async def stop(asked: Asked) -> None:
        await asked.stream.send_all(TAKEN + b"half")
        await asked.stream.receive_some(1)  # and leaves the rest unread

    await nursery.start(TinyEngine(stage, "0a0b0c0d", stop).serve)
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(HANDSHAKE)
        received = b""
        while not received.endswith(b"half"):
            received += await client.receive_some()
        await client.send_all(b"abc")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        await eventually(lambda: "outcome=cut" in stage.log())

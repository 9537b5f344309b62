"""Many clients that mean no good: a real activator keeps its size, and serves the others."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from activator_process import (
    NAME,
    Answer,
    Asked,
    ScriptedRunner,
    Stage,
    TinyEngine,
    answer_ok,
    eventually,
    post,
    read_all,
    ready_script,
)

CHAT = b'{"model": "story", "messages": [{"role": "user", "content": "hello"}], "stream": %s}'
STREAM = CHAT % b"true"
PLAIN = CHAT % b"false"
# Of a head that never ends: what a client can have us keep.
BEGINNING = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 8192


@dataclass(frozen=True)
class Flood:
    """How many of each come, and what the process may have grown to (VmHWM, MiB).

    It has some 30 MiB before anybody comes.  A slow head keeps 8 KiB of bytes and a
    task here, a stream two sockets and a lane; a reset leaves nothing.
    """

    slow: int
    resets: int
    streams: int
    memory: int


SAMPLE = Flood(slow=60, resets=300, streams=40, memory=48)
FULL = Flood(slow=1_000, resets=10_000, streams=500, memory=80)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(SAMPLE, id="sample"),
        pytest.param(FULL, id="full", marks=[pytest.mark.long, pytest.mark.timeout(300)]),
    ],
)
async def test_flood_costs_bounded_memory_and_nobody_elses_answer(
    stage: Stage, nursery: trio.Nursery, flood: Flood
) -> None:
    go_on = trio.Event()

    async def answer(asked: Asked) -> None:
        if b'"stream": true' not in asked.body and b'"stream":true' not in asked.body:
            await answer_ok(asked)
            return
        await asked.stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n"
        )
        await go_on.wait()
        await asked.stream.send_all(b"data: [DONE]\n\n")

    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    await nursery.start(TinyEngine(stage, "0a0b0c0d", answer).serve)
    streams: list[bytes] = []
    begun: list[bytes] = []

    async def stream() -> None:
        async with await stage.connect() as client:
            await client.send_all(post(STREAM))
            received = b""
            while b"data: {}" not in received:
                received += await client.receive_some()
            begun.append(received)
            await go_on.wait()
            streams.append(received + await read_all(client))

    async def drip(stopped: trio.Event) -> None:
        """Send a head a byte at a time until it is refused, or enough."""
        with suppress(trio.BrokenResourceError):
            async with await stage.connect() as client:
                await client.send_all(BEGINNING)
                dripping.append(client)
                while not stopped.is_set():
                    await client.send_all(b"x")
                    await trio.sleep(1)

    def storm() -> None:
        for number in range(flood.resets):
            connect_and_reset(stage.port, post(PLAIN)[: number % 90])

    async def others() -> None:
        while True:
            # Behind a backlog of thousands, on a machine that has other things to do.
            async with await stage.connect() as client:
                await client.send_all(post(PLAIN))
                answers.append(Answer(await read_all(client, limit=60)))
            await trio.sleep(0.01)

    dripping: list[trio.SocketStream] = []
    answers: list[Answer] = []
    enough = trio.Event()
    async with stage.activator() as process:
        assert (await stage.post(PLAIN)).status == 200
        async with trio.open_nursery() as floods, trio.open_nursery() as clients:
            for _ in range(flood.slow):
                floods.start_soon(drip, enough)
            for _ in range(flood.streams):
                floods.start_soon(stream)
            clients.start_soon(others)
            await eventually(lambda: len(dripping) == flood.slow, limit=60)
            await eventually(lambda: len(begun) == flood.streams, limit=60)
            await trio.to_thread.run_sync(storm)
            seen = len(answers)
            await eventually(lambda: len(answers) >= seen + 5, limit=60)
            clients.cancel_scope.cancel()
            enough.set()
            go_on.set()
        # And when all of it is over it serves as before.
        assert (await stage.post(PLAIN)).status == 200
        peak = peak_memory(process.pid)
    print(f"{flood}: {peak / 1024:.0f} MiB, {len(answers)} others served")
    assert {answer.status for answer in answers} == {200}
    assert all(whole.endswith(b"data: [DONE]\n\n") for whole in streams)
    assert len(streams) == flood.streams
    assert peak <= flood.memory * 1024, f"{peak} KiB"
    assert "Traceback" not in stage.log()


def connect_and_reset(port: int, beginning: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(beginning)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_flood_of_slow_heads_is_told_so_and_closed(stage: Stage) -> None:
    told: list[bytes] = []

    async def drip() -> None:
        async with await stage.connect() as client:
            await client.send_all(BEGINNING)
            with suppress(trio.BrokenResourceError):
                told.append(await client.receive_some())

    async with stage.activator():
        async with trio.open_nursery() as clients:
            for _ in range(1_000):
                clients.start_soon(drip)
        # The limit for a head; nobody is left.
        assert (await stage.get("/health")).status == 200
    assert len(told) == 1_000
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in told)


def peak_memory(pid: int) -> int:
    """VmHWM in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")

"""Real activator processes under clients, engines and runners that mean no good."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from activator_process import (
    FORM,
    LIMIT,
    NAME,
    Answer,
    Asked,
    Claim,
    ScriptedRunner,
    Stage,
    TinyEngine,
    answer_ok,
    eventually,
    first_half,
    post,
    read_all,
    ready_script,
    says,
    wait_exit,
)

from spark_activator import protocol
from spark_activator.activator.activation import Activation

OK_HEAD = b"HTTP/1.1 200 OK\r\n"


# Who is silent would be closed for that, in some time.
SILENT = {"activator.connection.HEAD_LIMIT": 300.0}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, drain=1.0, constants=SILENT)
    yield stage
    stage.close()


async def start_engine(
    stage: Stage, nursery: trio.Nursery, answer: Callable[[Asked], Awaitable[None]] = answer_ok
) -> TinyEngine:
    engine = TinyEngine(stage, "0a0b0c0d", answer)
    await nursery.start(engine.serve)
    return engine


async def test_silent_connections_do_not_keep_the_process(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage = Stage(tmp_path, idle=0.5, constants=SILENT | {"activator.guests.SILENCE": 1.0})
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    await start_engine(stage, nursery)
    async with stage.activator() as process:
        silent = [await stage.connect() for _ in range(20)]
        assert (await stage.post()).status == 200
        # After the idle time, and the second that a client has for its first byte.
        assert await wait_exit(process) == 0
        for client in silent:
            assert await client.receive_some() == b""
            await client.aclose()
    assert await runner.claims[0].last() == "bye"
    stage.close()


async def test_who_is_silent_does_not_delay_a_stop(tmp_path: Path) -> None:
    stage = Stage(tmp_path, drain=300, constants=SILENT | {"activator.guests.SILENCE": 300.0})
    async with stage.activator() as process, await stage.connect() as silent:
        assert (await stage.get("/health")).status == 200
        process.send_signal(signal.SIGTERM)
        assert await wait_exit(process) == 0
        assert await silent.receive_some() == b""
    stage.close()


async def test_interim_answers_without_end_are_a_bad_gateway(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    async def flood(asked: Asked) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await asked.stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)

    await start_engine(stage, nursery, flood)
    async with stage.activator():
        answer = await stage.post()
    final = Answer(answer.raw[answer.raw.index(b"HTTP/1.1 502") :])
    assert final.code == "bad_gateway"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2, 2\r\n",
        b"Content-Length: -2\r\n",
        b"Content-Length: 0x2\r\n",
        b"X: a\nSet-Cookie: b\r\n",
        b"X: a\rSet-Cookie: b\r\n",
        b"X: \x00\r\n",
    ],
)
async def test_answer_that_can_be_read_in_two_ways_is_a_bad_gateway(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery, fields: bytes
) -> None:
    async def answer(asked: Asked) -> None:
        await asked.stream.send_all(OK_HEAD + fields + b"\r\n{}")

    await start_engine(stage, nursery, answer)
    async with stage.activator():
        got = await stage.post()
    assert (got.status, got.code) == (502, "bad_gateway")


@pytest.mark.parametrize("together", [True, False], ids=["with-head", "later"])
async def test_engine_that_keeps_its_connection_is_left_after_the_announced_length(
    tmp_path: Path, nursery: trio.Nursery, together: bool
) -> None:
    stage = Stage(tmp_path, idle=0.5)
    body = b"x" * 300_000

    async def answer(asked: Asked) -> None:
        head = OK_HEAD + b"content-length: %d\r\nconnection: keep-alive\r\n\r\n" % len(body)
        extra = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
        if together:
            await asked.stream.send_all(head + body + extra)
        else:
            await asked.stream.send_all(head)
            await trio.sleep(0.05)
            await asked.stream.send_all(body[:100])
            await trio.sleep(0.05)
            await asked.stream.send_all(body[100:] + extra)
        await asked.stream.receive_some()

    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), ready_script()).serve)
    await start_engine(stage, nursery, answer)
    async with stage.activator() as process:
        assert (await stage.post()).body == body
        assert await wait_exit(process) == 0
    stage.close()


async def test_answer_without_a_body_is_over_with_its_head(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    async def answer(asked: Asked) -> None:
        await asked.stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\nevil")
        await asked.stream.receive_some()

    await start_engine(stage, nursery, answer)
    async with stage.activator():
        got = await stage.post()
    assert (got.status, got.body) == (204, b"")


async def test_engine_that_answers_early_and_fast_starves_nobody(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    async def answer(asked: Asked) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await asked.stream.send_all(OK_HEAD + b"\r\n")
            while True:
                await asked.stream.send_all(b"x" * 65536)

    class Early(TinyEngine):
        async def _serve(self, stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                await self._answer(Asked(stream, b""))

    await nursery.start(Early(stage, "0a0b0c0d", answer).serve)
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(post(b"x" * 1000, FORM)[:-1])  # its last byte never comes

        async def read() -> None:
            with contextlib.suppress(trio.ClosedResourceError):
                async for _ in client:
                    pass

        nursery.start_soon(read)
        await trio.sleep(0.2)
        for _ in range(5):
            # One that is starved gets no answer at all; a busy machine takes its time.
            with trio.fail_after(LIMIT):
                assert (await stage.get("/health")).status == 200


async def test_client_that_left_before_its_body_was_forwarded_is_noticed(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    ended = trio.Event()
    read = trio.Event()

    class Slow(TinyEngine):
        async def _serve(self, stream: trio.SocketStream) -> None:
            async with stream:
                received = await stream.receive_some(100)
                self.asked.append(Asked(stream, received))
                await read.wait()
                while await stream.receive_some():
                    pass
                ended.set()

    engine = Slow(stage, "0a0b0c0d", answer_ok)
    await nursery.start(engine.serve)
    # More than the engine's socket takes, less than what ours does in addition.
    request = post(b"x" * 300_000, FORM)
    async with stage.activator():
        client = await stage.knock(request[:-1])
        # Who leaves while it is held is not forwarded.
        await eventually(lambda: engine.asked)
        await client.send_all(request[-1:])
        await client.aclose()
        await trio.sleep(0.2)
        read.set()
        with trio.fail_after(LIMIT):
            await ended.wait()


async def test_a_thousand_held_bodies_cost_little_memory(
    stage: Stage, nursery: trio.Nursery
) -> None:
    async def script(claim: Claim) -> None:
        await claim.say(protocol.Starting("weights"))

    runner = ScriptedRunner(stage.layout.runner_socket(NAME), script)
    await nursery.start(runner.serve)
    start = post(b"x" * 64 * 1024 * 1024, FORM)[: 256 * 1024]

    async def hold() -> None:
        async with await stage.connect() as client:
            await client.send_all(start)
            await trio.sleep_forever()

    async with stage.activator() as process, trio.open_nursery() as clients:
        for _ in range(300):
            clients.start_soon(hold)
        await eventually(lambda: "STATUS=starting: weights, 300 held" in stage.said())
        held = resident(process.pid)
        clients.cancel_scope.cancel()
    # 64 KiB each would be 19 MiB more than what the process has anyway.
    assert held < 44 * 1024, f"{held} KiB"


async def test_dead_relay_thread_ends_the_process_after_everybody_was_answered(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    async def answer(asked: Asked) -> None:
        await asked.stream.send_all(OK_HEAD + b"\r\none")
        await trio.sleep_forever()

    def die() -> None:
        raise ZeroDivisionError

    await start_engine(stage, nursery, answer)
    stage.listener.setblocking(False)
    # In this process: no other one's thread can be made to die.
    activation = Activation(NAME, stage.layout, stage.model, [stage.listener])
    all_is_well: list[bool] = []

    async def run() -> None:
        all_is_well.append(await activation.run())

    async with trio.open_nursery() as running, await stage.connect() as client:
        running.start_soon(run)
        await client.send_all(post())
        await first_half(client)
        await runner.claims[0].say(protocol.Yield("the next one is held"))
        await says(stage, "giving the model away: the next one is held, 1 being answered")
        async with await stage.connect() as held:
            await held.send_all(post())
            await says(
                stage, "giving the model away: the next one is held, 1 held, 1 being answered"
            )
            activation._desk.relay._tell(die)
            refused = Answer(await read_all(held))
        assert (refused.status, refused.code) == (503, "shutting_down")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
    assert all_is_well == [False]


async def test_drain_that_takes_too_long_ends_with_an_answer(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    async def think(asked: Asked) -> None:
        await asked.stream.receive_some()

    engine = await start_engine(stage, nursery, think)
    async with stage.activator() as process, await stage.connect() as client:
        await client.send_all(post())
        await eventually(lambda: engine.asked)
        process.send_signal(signal.SIGTERM)
        answer = Answer(await read_all(client))
        assert (answer.status, answer.code) == (503, "shutting_down")
        assert await wait_exit(process) == 0


@pytest.mark.parametrize(
    "line",
    [
        {"type": "starting", "phase": "\ud800\n\x00READY=1"},
        {"type": "queued", "position": 1, "ahead": ["\udfff"], "eta": 1e308},
        {"type": "starting", "phase": "weights", "eta": float("nan")},
        {"type": "starting", "phase": "weights", "progress": float("-inf")},
    ],
    ids=["surrogate", "names", "nan", "inf"],
)
async def test_what_a_runner_says_cannot_end_the_process(
    stage: Stage, nursery: trio.Nursery, line: dict[str, object]
) -> None:
    async def script(claim: Claim) -> None:
        if len(scripted.claims) == 1:
            await claim.stream.send_all(json.dumps(line).encode() + b"\n")
            await trio.sleep(1.3)  # the status is shown once a second
            await claim.stream.send_all(b"\xff\xfe\n")
        else:
            await claim.say(protocol.Ready("0a0b0c0d"))

    scripted = ScriptedRunner(stage.layout.runner_socket(NAME), script)
    await nursery.start(scripted.serve)
    await start_engine(stage, nursery)
    async with stage.activator():
        assert (await stage.post()).status == 200
    assert "Traceback" not in stage.log()


@pytest.mark.slow
async def test_runner_that_never_keeps_to_the_protocol_is_no_busy_loop(
    stage: Stage, nursery: trio.Nursery
) -> None:
    async def script(claim: Claim) -> None:
        await claim.say(protocol.Queued(1))
        await claim.say(protocol.Ready("../../etc"))

    scripted = ScriptedRunner(stage.layout.runner_socket(NAME), script)
    await nursery.start(scripted.serve)
    async with stage.activator():
        answer = await stage.post()
    assert answer.code == "runner_unavailable"
    assert len(scripted.claims) <= 10


async def test_log_has_nothing_of_bodies_queries_or_endless_paths(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    await start_engine(stage, nursery)
    async with stage.activator():
        await stage.post(b'{"prompt": "geheim-1"}', "/v1/completions?api_key=geheim-2")
        await stage.post(b"geheim-3", "/v1/nothing?key=geheim-4")
        await stage.get("/" + "x" * 15_000)
        await stage.ask(
            b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: geheim-5\x01\r\n\r\n"
        )
        await stage.ask(b"GET /a\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n")
    log = stage.log()
    assert "asked=POST:/v1/completions outcome=answered code=200" in log
    assert "geheim" not in log
    assert "Traceback" not in log
    assert "\x1b" not in log
    assert max(map(len, log.splitlines())) < 1000


async def test_reset_storm_leaves_nothing_behind(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    await start_engine(stage, nursery)
    async with stage.activator() as process:
        assert (await stage.get("/health")).status == 200
        before = len(os.listdir(f"/proc/{process.pid}/fd"))
        for number in range(500):
            with socket.create_connection(("127.0.0.1", stage.port)) as client:
                client.sendall(post()[: number % 60])
                reset = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        assert (await stage.get("/health")).status == 200
        await eventually(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) <= before)
        assert not runner.claims
    assert "Traceback" not in stage.log()


async def test_no_descriptors_left_is_a_pause_or_a_refusal_and_no_end(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery
) -> None:
    async def slowly(asked: Asked) -> None:
        await trio.sleep(0.1)
        await answer_ok(asked)

    await start_engine(stage, nursery, slowly)
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await stage.post())

    async with stage.activator() as process:
        assert (await stage.post()).status == 200
        before = len(os.listdir(f"/proc/{process.pid}/fd"))
        few = before + 6
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (few, few))
        async with trio.open_nursery() as clients:
            for _ in range(40):
                clients.start_soon(ask)
        # A client has its answer before all that it cost is given back.
        await eventually(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) <= before)
        assert (await stage.post()).status == 200
    assert len(answers) == 40
    refused = {answer.code for answer in answers if answer.status != 200}
    assert refused <= {"overloaded"}
    assert "Traceback" not in stage.log()


def resident(pid: int) -> int:
    """VmRSS in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")

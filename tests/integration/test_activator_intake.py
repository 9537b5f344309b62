"""Real activators: what is made of a request before anybody is asked for the engine."""

from __future__ import annotations

import json
import os
import signal
import statistics
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

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
    answer_ok,
    eventually,
    post,
    read_all,
    says,
)

from spark_activator import protocol
from spark_activator.activator.bodies import SMALL
from spark_activator.catalog.model import Requests

# With as much of it a body is large, and decided about by the worker.
PADDING = {"user": "x" * (SMALL + 1000)}


async def engine_of(
    stage: Stage, nursery: trio.Nursery, answer: Callable[[Asked], Awaitable[None]]
) -> TinyEngine:
    engine = TinyEngine(stage, "0a0b0c0d", answer)
    await nursery.start(engine.serve)
    return engine


def chat(**fields: object) -> bytes:
    said = {"role": "user", "content": "Tell me a story"}
    return json.dumps({"model": NAME, "messages": [said], **fields}).encode()


def workers(activator: int) -> list[int]:
    processes = [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]
    children = [pid for pid in processes if parent(pid) == activator]
    return [pid for pid in children if b"policy_worker" in command_line(pid)]


def parent(pid: int) -> int | None:
    with suppress(OSError):  # others on this machine come and go
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def peak_memory(pid: int) -> int:
    """KiB"""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def bodies(pid: int) -> list[int]:
    """Return the sizes of the bodies that it has open."""
    sizes = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            if "/memfd:body" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                sizes.append(os.stat(f"/proc/{pid}/fd/{fd}").st_size)
    return sizes


@pytest.mark.parametrize("padding", [{}, PADDING], ids=["small", "large"])
async def test_engine_gets_what_the_policy_says(
    stage: Stage, runner: ScriptedRunner, engine: TinyEngine, padding: dict[str, str]
) -> None:
    stage.change(presets={"story-exact": {"temperature": 0}}, requests=Requests(set={"top_k": 5}))
    async with stage.activator():
        request = post(chat(**{"model": "story-exact", "temperature": 1, **padding}))
        keys = b"Host: a\r\nAuthorization: Bearer geheim\r\nX-Api-Key: geheim\r\n"
        answer = await stage.ask(request.replace(b"Host: a\r\n", keys))

    assert answer.status == 200
    assert b"geheim" not in engine.asked[0].head
    assert answer.headers["x-spark-changed"] == "set, preset"
    [asked] = engine.asked
    assert json.loads(asked.body) == json.loads(
        chat(**{"model": "story-exact", "temperature": 0, **padding, "top_k": 5})
    )


@pytest.mark.parametrize("padding", [{}, PADDING], ids=["small", "large"])
async def test_body_that_nothing_changes_arrives_as_it_was_sent(
    stage: Stage, runner: ScriptedRunner, engine: TinyEngine, padding: dict[str, str]
) -> None:
    # Whitespace, an escape and a number that a second writer would write otherwise.
    body = b' {"prompt":"\\u0061", "seed":  1E2, ' + json.dumps(padding).encode()[1:]
    body = body.replace(b",  }", b"}").replace(b", }", b"}")
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(head)
        for part in (body[:10], body[10:]):
            await client.send_all(b"%x\r\n%b\r\n" % (len(part), part))
        await trio.sleep(0.02)
        assert not runner.claims  # not before it is complete
        await client.send_all(b"0\r\n\r\n")
        answer = Answer(await read_all(client))

    assert answer.status == 200
    assert "x-spark-changed" not in answer.headers
    [asked] = engine.asked
    assert asked.body == body
    assert b"content-length: %d" % len(body) in asked.head
    assert b"transfer-encoding" not in asked.head


async def test_auto_is_this_model(stage: Stage, runner: ScriptedRunner, engine: TinyEngine) -> None:
    async with stage.activator():
        answer = await stage.post(chat(model="auto"))

    assert answer.headers["x-spark-changed"] == "model"
    assert json.loads(engine.asked[0].body)["model"] == NAME


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (post(b"{"), "invalid_json"),
        (post(b"[" * SMALL * 2), "invalid_json"),
        (post(chat(prompt_embeds="x")), "unsupported_field"),
        (post(chat(prompt_embeds="x", **PADDING)), "unsupported_field"),
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: 2\r\n\r\n{}",
            "invalid_json",
        ),
    ],
    ids=["no JSON", "large, no JSON", "a field", "large, a field", "compressed"],
)
async def test_who_is_refused_wakes_nothing(
    stage: Stage, runner: ScriptedRunner, request_: bytes, code: str
) -> None:
    async with stage.activator():
        answer = await stage.ask(request_)
        await eventually(lambda: f"outcome=refused code={code}" in stage.log())

    assert (answer.status, answer.code) == (400, code)
    assert not runner.claims


async def test_client_that_leaves_while_it_sends_wakes_nothing(
    stage: Stage, runner: ScriptedRunner
) -> None:
    async with stage.activator():
        for size in (100, SMALL * 3):
            client = await stage.connect()
            await client.send_all(post(chat(user="x" * SMALL * 4))[:size])
            await trio.sleep(0.02)
            await client.aclose()
        await eventually(lambda: stage.log().count("outcome=left") == 2)
    assert not runner.claims


def has_ended(pid: int) -> bool:
    try:
        return process_state(pid) == "Z"
    except FileNotFoundError:
        return True


def has_handed_over(activator: int, size: int) -> bool:
    """Say whether it has a body of *size* bytes, and waits for whoever it gave it to."""
    return size in bodies(activator) and process_state(activator) == "S"


def process_state(pid: int) -> str:
    """Return its letter, as in proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_worker_that_was_killed_is_replaced(
    stage: Stage, runner: ScriptedRunner, engine: TinyEngine
) -> None:
    async with stage.activator() as process:
        assert (await stage.post(chat(**PADDING))).status == 200
        [first] = workers(process.pid)
        os.kill(first, signal.SIGKILL)
        # Only then can its parent know: the command line is gone a moment before.
        await eventually(lambda: has_ended(first))
        assert (await stage.post(chat(**PADDING))).status == 200
        [second] = workers(process.pid)
        assert second != first

        # While it works: the one request is refused, and the journal says why.
        os.kill(second, signal.SIGSTOP)
        async with await stage.connect() as client:
            await client.send_all(post(chat(**PADDING)))
            await eventually(lambda: has_handed_over(process.pid, len(chat(**PADDING))))
            os.kill(second, signal.SIGKILL)
            refused = Answer(await read_all(client))
        assert (await stage.post(chat(**PADDING))).status == 200

    assert (refused.status, refused.code) == (500, "internal_error")
    assert "The policy's worker ended with status -9" in stage.log()
    assert len(engine.asked) == 3


async def test_worker_ends_with_its_activator(
    stage: Stage, runner: ScriptedRunner, engine: TinyEngine
) -> None:
    async with stage.activator() as process:
        await stage.post(chat(**PADDING))
        [worker] = workers(process.pid)
        process.kill()
        await eventually(lambda: not command_line(worker))


@pytest.mark.slow
async def test_large_bodies_pass_at_once_and_small_memory(
    stage: Stage, runner: ScriptedRunner, engine: TinyEngine
) -> None:
    answers: list[int] = []
    body = chat(user="x" * 5_000_000)

    async def ask() -> None:
        answers.append((await stage.post(body)).status)

    async with stage.activator() as process:
        async with trio.open_nursery() as clients:
            for _ in range(8):
                clients.start_soon(ask)
        peak = peak_memory(process.pid)
        # A client has its answer before all that it cost is given back.
        await eventually(lambda: not bodies(process.pid))

    assert answers == [200] * 8
    assert all(asked.body == body for asked in engine.asked)
    assert peak < 44 * 1024


async def test_only_so_many_wait(stage: Stage, nursery: trio.Nursery) -> None:
    async def script(claim: Claim) -> None:
        await claim.say(protocol.Starting("weights"))

    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), script).serve)
    stage.change(requests=Requests(most_held=2))
    async with stage.activator():
        waiting = [await stage.connect() for _ in range(2)]
        for client in waiting:
            await client.send_all(post(chat()))
        await says(stage, "starting: weights, 2 held")
        refused = await stage.post(chat())
        await waiting[0].aclose()
        await says(stage, "starting: weights, 1 held")
        async with await stage.connect() as client:
            await client.send_all(post(chat()))
            await says(stage, "starting: weights, 2 held")
        await waiting[1].aclose()

    assert (refused.status, refused.code) == (503, "queue_full")
    assert int(refused.headers["retry-after"]) > 0


async def test_only_so_many_are_served_and_who_was_held_waits(
    stage: Stage, nursery: trio.Nursery
) -> None:
    at_once = most_at_once = 0
    ready, go_on = trio.Event(), trio.Event()
    answers: list[Answer] = []

    async def script(claim: Claim) -> None:
        await claim.say(protocol.Starting("weights"))
        await ready.wait()
        await claim.say(protocol.Ready("0a0b0c0d"))

    async def answer(asked: Asked) -> None:
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        await go_on.wait()
        at_once -= 1
        await answer_ok(asked)

    async def ask() -> None:
        answers.append(await stage.post(chat()))

    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), script).serve)
    engine = await engine_of(stage, nursery, answer)
    stage.change(requests=Requests(most_served=2))
    async with stage.activator():
        async with trio.open_nursery() as clients:
            for _ in range(7):
                clients.start_soon(ask)
            await says(stage, "starting: weights, 7 held")
            ready.set()
            await eventually(lambda: len(engine.asked) == 2)
            refused = await stage.post(chat())
            go_on.set()
        later = await stage.post(chat())

    assert [answer.status for answer in answers] == [200] * 7
    assert most_at_once == 2
    assert (refused.status, refused.code) == (429, "concurrency_limit")
    assert later.status == 200


def counting(answer: bytes | None) -> Callable[[Asked], Awaitable[None]]:
    """Answer `/tokenize` with *answer*, or never."""

    async def serve(asked: Asked) -> None:
        if not asked.head.startswith(b"POST /tokenize "):
            await answer_ok(asked)
        elif answer is None:
            await trio.sleep_forever()
        else:
            await asked.stream.send_all(answer)

    return serve


def counted(tokens: int) -> bytes:
    body = b'{"count":%d,"max_model_len":32768,"tokens":[%b1]}' % (tokens, b"1," * 100_000)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("prompt", [14_000, 110_000], ids=["small", "large"])
async def test_prompt_near_the_context_is_counted_by_the_engine(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery, prompt: int
) -> None:
    context = prompt * 3 // 10
    engine = await engine_of(stage, nursery, counting(counted(context - 700 - 16)))
    stage.change(context=context)
    async with stage.activator():
        answer = await stage.post(chat(max_tokens=5000, system="x" * prompt))

    assert answer.status == 200
    assert answer.headers["x-spark-changed"] == "clamp_tokens"
    question, asked = engine.asked
    assert json.loads(question.body)["system"] == "x" * prompt
    assert json.loads(asked.body)["max_tokens"] == 700


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\n{"count": 1}',
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"nonsense\r\n\r\n",
        b"",
        pytest.param(None, marks=pytest.mark.slow),
    ],
    ids=["no such path", "no count", "no HTTP", "nothing", "never"],
)
async def test_engine_that_cannot_count_costs_nothing_but_the_estimate(
    stage: Stage, runner: ScriptedRunner, nursery: trio.Nursery, answer: bytes | None
) -> None:
    if answer is None:
        stage.constants["activator.counting.LIMIT"] = 5.0
    engine = await engine_of(stage, nursery, counting(answer))
    stage.change(requests=Requests(clamp_margin=100))
    async with stage.activator():
        got = await stage.post(chat(max_tokens=5000, system="x" * 12_000))

    assert got.status == 200
    assert len(engine.asked) == 2
    assert 0 < json.loads(engine.asked[1].body)["max_tokens"] < 4096 - 3000


async def test_debug_names_the_rules_and_no_content(
    stage: Stage, runner: ScriptedRunner, engine: TinyEngine
) -> None:
    stage.environment["SPARK_LOG"] = "debug"
    async with stage.activator():
        await stage.post(chat(model="auto", user="geheim"))

    assert "<7>Changed a request (model)" in stage.log()
    assert "geheim" not in stage.log()


@pytest.mark.slow
async def test_large_picture_beside_a_stream(stage: Stage, runner: ScriptedRunner, nursery) -> None:  # type: ignore[no-untyped-def]  # pytest-trio names no type
    """Prints how long a stream stands still meanwhile; docs/performance.md has the numbers."""

    async def answer(asked: Asked) -> None:
        if b"stream" not in asked.body[:100]:
            await answer_ok(asked)
            return
        await asked.stream.send_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while True:
                await asked.stream.send_all(b"x")
                await trio.sleep(0.005)

    await engine_of(stage, nursery, answer)
    picture = chat(user="A" * 20_000_000)
    arrived: list[float] = []
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(post(b'{"stream": true, "messages": []}'))
        await client.receive_some()

        async def listen() -> None:
            while await client.receive_some():
                arrived.append(trio.current_time())

        async with trio.open_nursery() as listening:
            listening.start_soon(listen)
            await eventually(lambda: len(arrived) >= 100)
            alone = len(arrived)
            with trio.fail_after(LIMIT):
                for _ in range(3):
                    assert (await stage.post(picture)).status == 200
            await eventually(lambda: len(arrived) >= alone + 2)
            listening.cancel_scope.cancel()
    for what, times in (("alone", arrived[:alone]), ("beside 20 MB", arrived[alone:])):
        gaps = sorted(1e3 * (b - a) for a, b in pairwise(times))
        print(f"{what}: p50 {statistics.median(gaps):.1f} ms, p99 {gaps[-len(gaps) // 100]:.1f} ms")

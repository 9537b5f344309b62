"""Real activator processes: what they hold, when they leave, and whom they never lose."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from activator_process import (
    FORM,
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
    heard,
    in_halves,
    post,
    read_all,
    ready_script,
    says,
    wait_exit,
)

from spark_activator import protocol
from spark_activator.catalog.model import Capabilities, Tools

Script = Callable[[Claim], Awaitable[None]]
# One that no request has reached leaves soon.
NOBODY = {"activator.idle.LINGER": 0.2}


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Stage]:
    """A model that goes after a fifth of a second."""
    stage = Stage(tmp_path, idle=0.2)
    yield stage
    stage.close()


async def start_runner(
    stage: Stage, nursery: trio.Nursery, script: Script | None
) -> ScriptedRunner:
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), script)
    await nursery.start(runner.serve)
    return runner


async def start_engine(
    stage: Stage,
    nursery: trio.Nursery,
    answer: Callable[[Asked], Awaitable[None]] = answer_ok,
    activation: str = "0a0b0c0d",
) -> TinyEngine:
    engine = TinyEngine(stage, activation, answer)
    await nursery.start(engine.serve)
    return engine


async def test_holds_a_thousand_cold_clients_and_answers_all(
    stage: Stage, nursery: trio.Nursery
) -> None:
    async def script(claim: Claim) -> None:
        await claim.say(protocol.Starting("weights", 0.4, 3.0))
        await trio.sleep(1.5)
        await claim.say(protocol.Ready("0a0b0c0d"))

    runner = await start_runner(stage, nursery, script)
    engine = await start_engine(stage, nursery)
    answers: list[int] = []

    async def one() -> None:
        answers.append((await stage.post()).status)

    async with stage.activator(), trio.open_nursery() as clients:
        for _ in range(1000):
            clients.start_soon(one)

    assert answers == [200] * 1000
    assert len(engine.asked) == 1000
    assert len(runner.claims) == 1


async def test_client_that_leaves_while_held_is_forgotten(
    stage: Stage, nursery: trio.Nursery
) -> None:
    async def script(claim: Claim) -> None:
        await claim.say(protocol.Starting("weights"))

    runner = await start_runner(stage, nursery, script)
    async with stage.activator():
        client = await stage.connect()
        await client.send_all(post(b"x" * 100_000, FORM)[:50_000])  # its body lies unread
        await eventually(lambda: runner.claims and "busy" in runner.claims[0].types)
        await client.aclose()
        await eventually(lambda: len(runner.claims[0].lines) == 3)
        [claim] = runner.claims
        assert claim.lines[-1] == {"type": "busy", "in_flight": 0, "held": None}
        # The load goes on: nobody said bye, and the connection stays.
        assert not claim.ended


async def test_tells_when_the_last_for_whom_the_engine_came_is_served(
    stage: Stage, nursery: trio.Nursery
) -> None:
    first, second = trio.Event(), trio.Event()

    async def script(claim: Claim) -> None:
        await eventually(lambda: "busy" in claim.types)
        await claim.say(protocol.Ready("0a0b0c0d"))

    async def answer(asked: Asked) -> None:
        await (second if b"second" in asked.body else first).wait()
        await answer_ok(asked)

    runner = await start_runner(stage, nursery, script)
    engine = await start_engine(stage, nursery, answer)
    async with stage.activator(), trio.open_nursery() as clients:
        clients.start_soon(stage.post, b'{"prompt": "first"}')
        await eventually(lambda: len(engine.asked) == 1)
        # It comes when the engine is there, and outlasts the first.
        clients.start_soon(stage.post, b'{"prompt": "second"}')
        await eventually(lambda: len(engine.asked) == 2)
        lines = runner.claims[0].lines
        await eventually(lambda: lines[-1].get("held") == 1)

        first.set()

        await eventually(lambda: lines[-1].get("held") == 0)
        assert lines[-1]["in_flight"] == 1
        second.set()


async def test_refuses_what_the_runner_refuses_and_asks_again_for_the_next(
    stage: Stage, nursery: trio.Nursery
) -> None:
    async def script(claim: Claim) -> None:
        await claim.say(protocol.Failed("docker_unavailable", "Docker does not answer", 7))

    runner = await start_runner(stage, nursery, script)
    async with stage.activator():
        first, second = await stage.post(b"x" * 300_000, FORM), await stage.post()

    for answer in (first, second):
        assert (answer.status, answer.code) == (503, "docker_unavailable")
        assert answer.headers["retry-after"] == "7"
    assert len(runner.claims) == 2


@pytest.mark.slow
async def test_no_runner_is_an_honest_refusal(stage: Stage) -> None:
    async with stage.activator():
        answer = await stage.post()

    assert (answer.status, answer.code) == (503, "runner_unavailable")


@pytest.mark.slow
async def test_runner_that_always_ends_is_an_honest_refusal(
    stage: Stage, nursery: trio.Nursery
) -> None:
    async def script(claim: Claim) -> None:
        await claim.stream.aclose()

    await start_runner(stage, nursery, script)
    async with stage.activator():
        answer = await stage.post()

    assert (answer.status, answer.code) == (503, "runner_unavailable")


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b'{"type":"sing"}\n',
        b'{"type":"ready","upstream":"../../etc"}\n',
        b"x" * 20_000,
    ],
    ids=["no-json", "unknown", "path", "long"],
)
async def test_bad_line_ends_the_connection_and_not_the_process(
    stage: Stage, nursery: trio.Nursery, line: bytes
) -> None:
    async def script(claim: Claim) -> None:
        if len(runner.claims) == 1:
            await claim.stream.send_all(line)
        else:
            await claim.say(protocol.Ready("0a0b0c0d"))

    runner = await start_runner(stage, nursery, script)
    await start_engine(stage, nursery)
    async with stage.activator():
        assert (await stage.post()).status == 200
    assert len(runner.claims) == 2


async def test_runner_lost_mid_stream_is_found_again_and_the_stream_goes_on(
    stage: Stage, nursery: trio.Nursery
) -> None:
    go_on = trio.Event()

    async def listens_first(claim: Claim) -> None:
        # What is said of requests depends on whether it has said that it is ready.
        await eventually(lambda: claim.lines)
        await ready_script()(claim)

    runner = await start_runner(stage, nursery, listens_first)
    await start_engine(stage, nursery, in_halves(go_on))
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(post())
        await first_half(client)
        await runner.claims[0].stream.aclose()
        # A third comes soon: how many it holds, since the engine is there.
        await eventually(lambda: len(runner.claims) == 2 and len(runner.claims[1].lines) >= 2)
        assert runner.claims[1].lines[1] == {"type": "busy", "in_flight": 1, "held": None}
        go_on.set()
        assert await read_all(client) == b"two"


async def test_gives_the_model_away_after_what_is_in_flight(
    stage: Stage, nursery: trio.Nursery
) -> None:
    go_on = trio.Event()

    async def script(claim: Claim) -> None:
        first = len(runner.claims) == 1
        await claim.say(protocol.Ready("0a0b0c0d" if first else "11111111"))

    runner = await start_runner(stage, nursery, script)
    first_engine = await start_engine(stage, nursery, in_halves(go_on))
    second_engine = await start_engine(stage, nursery, activation="11111111")
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(post())
        await first_half(client)
        await runner.claims[0].say(protocol.Yield("'other' waits"))
        await says(stage, "giving the model away: 'other' waits, 1 being answered")
        async with trio.open_nursery() as later:
            held: list[Answer] = []

            async def ask_later() -> None:
                held.append(await stage.post())

            later.start_soon(ask_later)
            await says(stage, "giving the model away: 'other' waits, 1 held, 1 being answered")
            assert not held
            assert "yielded" not in runner.claims[0].types
            go_on.set()
            assert await read_all(client) == b"two"
        await eventually(lambda: runner.claims[0].ended)

    assert runner.claims[0].types[-1] == "yielded"
    assert held[0].status == 200
    assert (len(first_engine.asked), len(second_engine.asked)) == (1, 1)


async def test_engine_that_died_before_the_connect_is_asked_for_once_more(
    stage: Stage, nursery: trio.Nursery
) -> None:
    stage.constants["activator.connection.DEATH_NOTICE_LIMIT"] = 60.0

    async def script(claim: Claim) -> None:
        if len(runner.claims) == 1:
            await claim.say(protocol.Ready("deaddead"))
            await trio.sleep(0.3)
            await claim.say(protocol.Stopping())
        else:
            await claim.say(protocol.Ready("0a0b0c0d"))

    runner = await start_runner(stage, nursery, script)
    engine = await start_engine(stage, nursery)
    async with stage.activator():
        answer = await stage.post(b'{"prompt": "once"}')

    assert answer.status == 200
    assert [asked.body for asked in engine.asked] == [b'{"prompt": "once"}']


@pytest.mark.slow
async def test_engine_that_stays_dead_is_an_honest_refusal(
    stage: Stage, nursery: trio.Nursery
) -> None:
    # The runner keeps saying that it is there.
    await start_runner(stage, nursery, ready_script("deaddead"))
    async with stage.activator():
        answer = await stage.post()

    assert (answer.status, answer.code) == (503, "engine_died")


async def test_engine_that_is_a_link_is_not_followed(stage: Stage, nursery: trio.Nursery) -> None:
    engine = await start_engine(stage, nursery, activation="0a0b0c0d")
    planted = stage.layout.upstream(NAME) / "11111111"
    planted.mkdir()
    (planted / "engine.sock").symlink_to("../0a0b0c0d/engine.sock")

    async def script(claim: Claim) -> None:
        await claim.say(protocol.Ready("11111111"))
        await trio.sleep(0.1)
        await claim.say(protocol.Failed("engine_died", "gone"))

    await start_runner(stage, nursery, script)
    async with stage.activator():
        answer = await stage.post()

    assert answer.code == "engine_died"
    assert not engine.asked


async def test_asking_how_it_is_wakes_nothing(stage: Stage, nursery: trio.Nursery) -> None:
    stage.constants |= NOBODY
    stage.change(capabilities=Capabilities(Tools.FULL, reasoning=True))
    runner = await start_runner(stage, nursery, ready_script())
    # All before it: who came later might find nobody.
    asked = [
        await stage.knock(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for method, path in (
            ("GET", "/health"),
            ("GET", "/v1/models"),
            ("GET", "/v1/models/tale"),
            ("GET", "/metrics"),
            ("GET", "/v1/models/other"),
            ("HEAD", "/v1/models"),
        )
    ]
    async with stage.activator() as process:
        health, models, one, metrics, missing, head = [await heard(client) for client in asked]
        # And none of it keeps the process: it leaves as if nobody had come.
        assert await wait_exit(process) == 0

    assert health.status == 200
    assert [model["id"] for model in json.loads(models.body)["data"]] == ["story", "tale"]
    told = json.loads(one.body)
    # As nginx tells it (units/nginx/models.js).
    assert told == {
        "id": "tale",
        "object": "model",
        "created": 0,
        "owned_by": "spark-activator",
        "root": "story",
        "parent": "story",
        "max_model_len": 4096,
        "capabilities": {"tools": "full", "reasoning": True},
        "state": "not loaded",
    }
    assert b"spark_activator_requests_total" in metrics.body
    assert missing.status == 404
    assert (head.status, head.body) == (200, b"")
    assert not runner.claims


async def test_broken_model_file_is_said_and_then_it_leaves(stage: Stage) -> None:
    stage.constants |= NOBODY
    stage.layout.frozen(NAME).write_text("{")
    request = post(b"x" * 100_000, FORM)
    client = await stage.knock(request[:50_000])
    async with stage.activator() as process:
        await client.send_all(request[50_000:])
        answer = await heard(client)
        assert (answer.status, answer.code) == (503, "model_file_broken")
        assert await wait_exit(process) == 0


async def test_leaves_when_idle_and_says_bye(quick: Stage, nursery: trio.Nursery) -> None:
    runner = await start_runner(quick, nursery, ready_script())
    await start_engine(quick, nursery)
    async with quick.activator() as process:
        assert (await quick.post()).status == 200
        assert await wait_exit(process) == 0

    assert await runner.claims[0].last() == "bye"
    said = quick.said()
    assert "READY=1" in said
    assert "STOPPING=1" in said


async def test_stream_longer_than_the_idle_time_is_not_cut(
    quick: Stage, nursery: trio.Nursery
) -> None:
    async def slowly(asked: Asked) -> None:
        await asked.stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(4):
            await trio.sleep(0.3)
            await asked.stream.send_all(b".")

    await start_runner(quick, nursery, ready_script())
    await start_engine(quick, nursery, slowly)
    async with quick.activator():
        assert (await quick.post()).body == b"...."


async def test_connection_that_was_just_made_has_a_moment_for_its_request(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    # The moment is long enough for any machine.
    stage = Stage(tmp_path, idle=0.2, constants={"activator.guests.SILENCE": 60.0})
    await start_runner(stage, nursery, ready_script())
    await start_engine(stage, nursery)
    async with stage.activator() as process:
        async with await stage.connect() as client:
            assert (await stage.post()).status == 200
            before = cpu_seconds(process.pid)
            # The idle time is over: it stays, without burning a core.
            await trio.sleep(0.6)
            assert process.poll() is None
            assert cpu_seconds(process.pid) - before < 0.3
            await client.send_all(post()[:20])
            await trio.sleep(1.2)  # what has begun is not silent, however slow it is
            await client.send_all(post()[20:])
            assert Answer(await read_all(client)).status == 200
        assert await wait_exit(process) == 0
    stage.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "waves", [12, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(120)])]
)
async def test_connects_around_idle_exits_lose_none(
    quick: Stage, nursery: trio.Nursery, waves: int
) -> None:
    await start_runner(quick, nursery, ready_script())
    await start_engine(quick, nursery)
    exits: list[int] = []

    async def like_systemd() -> None:
        while True:
            await trio.lowlevel.wait_readable(quick.listener)
            async with quick.activator() as process:
                exits.append(await wait_exit(process, limit=100))

    async with trio.open_nursery() as systemd:
        systemd.start_soon(like_systemd)
        wave = 0
        # Where timers are late there may be fewer exits between them.
        while wave < waves or len(exits) <= waves / 4:
            quick.said()
            async with trio.open_nursery() as clients:
                for _ in range(5):
                    # From 20 ms before the idle time is over to 20 ms after it.
                    clients.start_soon(ask_after, quick, 0.18 + 0.04 * (wave % waves) / waves)
            wave += 1
        systemd.cancel_scope.cancel()

    assert set(exits) == {0}


async def ask_after(stage: Stage, delay: float) -> None:
    await trio.sleep(delay)
    assert (await stage.post()).status == 200


async def test_told_to_end_it_drains_and_refuses_who_is_held(
    stage: Stage, nursery: trio.Nursery
) -> None:
    go_on = trio.Event()

    runner = await start_runner(stage, nursery, ready_script())
    await start_engine(stage, nursery, in_halves(go_on))
    async with (
        stage.activator() as process,
        await stage.connect() as client,
        await stage.connect() as held,
    ):
        await client.send_all(post())
        await first_half(client)
        await runner.claims[0].say(protocol.Yield("the next one is held"))
        await says(stage, "giving the model away: the next one is held, 1 being answered")
        await held.send_all(post())
        await says(stage, "giving the model away: the next one is held, 1 held, 1 being answered")

        process.send_signal(signal.SIGTERM)
        refused = Answer(await read_all(held))
        assert (refused.status, refused.code) == (503, "shutting_down")
        # Who comes now waits in the backlog: it is the next activation's.
        async with await stage.connect() as late:
            await late.send_all(post())
            go_on.set()
            assert await read_all(client) == b"two"
            assert await wait_exit(process) == 0
            with trio.move_on_after(0.1) as waiting:
                await late.receive_some()
            assert waiting.cancelled_caught
    assert "bye" not in runner.claims[0].types


async def test_drain_has_an_end(tmp_path: Path, nursery: trio.Nursery) -> None:
    stage = Stage(tmp_path, drain=0.3)

    async def forever(asked: Asked) -> None:
        await asked.stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        await trio.sleep_forever()

    await start_runner(stage, nursery, ready_script())
    await start_engine(stage, nursery, forever)
    async with stage.activator() as process, await stage.connect() as client:
        await client.send_all(post())
        await client.receive_some()
        process.send_signal(signal.SIGTERM)
        assert await wait_exit(process) == 0
        # This answer has no length: only a reset tells it from a whole one.
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
    stage.close()


async def test_status_names_what_is_waited_for(stage: Stage, nursery: trio.Nursery) -> None:
    async def script(claim: Claim) -> None:
        await claim.say(protocol.Queued(2, ("qwen3", "gpt-oss"), 90.0))

    await start_runner(stage, nursery, script)
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(post())
        said: list[str] = []
        wanted = "STATUS=queued: position 2, behind qwen3, gpt-oss, about 90 s left, 1 held"
        await eventually(lambda: said.extend(stage.said()) or wanted in said)


async def test_without_a_listener_it_says_who_starts_it(stage: Stage) -> None:
    command = [sys.executable, "-I", "-m", "spark_activator.activator", NAME]
    done = await trio.run_process(command, check=False, capture_stderr=True)

    assert done.returncode == 1
    assert b"expected listeners 'model'" in done.stderr


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100

"""What admins ask a port: touch, warm, stop; and what browsers ask before they ask."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from activator_process import (
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
    ready_script,
    wait_exit,
)

from spark_activator import protocol

IDLE = 5.0


async def start(stage: Stage, nursery: trio.Nursery) -> ScriptedRunner:
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    return runner


async def debug(stage: Stage, what: str) -> Answer:
    return await stage.post(b"", f"/debug/{what}")


async def test_warm_answers_when_the_model_is_there(stage: Stage, nursery: trio.Nursery) -> None:
    loaded = trio.Event()

    async def script(claim: Claim) -> None:
        await claim.say(protocol.Starting("weights"))
        await loaded.wait()
        await claim.say(protocol.Ready("0a0b0c0d"))

    runner = ScriptedRunner(stage.layout.runner_socket(NAME), script)
    await nursery.start(runner.serve)
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(post(b"", "/debug/warm"))
        await eventually(lambda: "STATUS=starting: weights, 1 held" in stage.said())
        loaded.set()
        answer = Answer(await read_all(client))
        assert (answer.status, answer.body) == (
            200,
            b'{"ok": true, "model": "story", "state": "ready"}',
        )
        assert "asked=POST:/debug/warm outcome=answered code=200" in stage.log()
        # It is kept as after a request.
        await eventually(lambda: runner.claims[0].types[:2] == ["demand", "busy"])
        assert not runner.claims[0].ended


async def test_warm_that_fails_says_why(stage: Stage, nursery: trio.Nursery) -> None:
    async def script(claim: Claim) -> None:
        await claim.say(protocol.Failed("memory_short", "no memory"))

    runner = ScriptedRunner(stage.layout.runner_socket(NAME), script)
    await nursery.start(runner.serve)
    async with stage.activator():
        answer = await debug(stage, "warm")
    assert (answer.status, answer.code) == (503, "memory_short")


@pytest.mark.slow
async def test_touch_keeps_a_loaded_model_and_loads_none(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    # Longer than it takes to ask again.
    stage = Stage(tmp_path, idle=IDLE)
    runner = await start(stage, nursery)
    async with stage.activator() as process:
        missing = await debug(stage, "touch")
        assert (missing.status, missing.code) == (404, "model_not_loaded")
        assert not runner.claims
        assert (await debug(stage, "warm")).status == 200
        await trio.sleep(1)
        touched = trio.current_time()
        assert (await debug(stage, "touch")).status == 200
        assert await wait_exit(process) == 0
        # Not a second earlier, as it would without.
        assert trio.current_time() - touched >= IDLE
    assert await runner.claims[0].last() == "bye"
    stage.close()


async def test_stop_leaves_at_once_when_nothing_is_in_flight(
    stage: Stage, nursery: trio.Nursery
) -> None:
    runner = await start(stage, nursery)
    async with stage.activator() as process:
        missing = await debug(stage, "stop")
        assert (missing.status, missing.code) == (404, "model_not_loaded")
        assert (await debug(stage, "warm")).status == 200
        assert (await debug(stage, "stop")).status == 200
        assert await wait_exit(process) == 0
    assert await runner.claims[0].last() == "bye"


async def test_stop_is_refused_while_somebody_is_answered(
    stage: Stage, nursery: trio.Nursery
) -> None:
    await start(stage, nursery)
    go_on = trio.Event()

    async def answer(asked: Asked) -> None:
        await go_on.wait()
        await answer_ok(asked)

    engine = TinyEngine(stage, "0a0b0c0d", answer)
    await nursery.start(engine.serve)
    async with stage.activator() as process, await stage.connect() as client:
        await client.send_all(post())
        await eventually(lambda: engine.asked)
        refused = await debug(stage, "stop")
        # Not one of those that SDKs try again.
        assert (refused.status, refused.code) == (423, "model_busy")
        go_on.set()
        assert Answer(await read_all(client)).status == 200
        assert process.poll() is None


async def test_preflight_is_answered_without_waking_anything(
    stage: Stage, nursery: trio.Nursery
) -> None:
    runner = await start(stage, nursery)
    async with stage.activator():
        request = (
            b"OPTIONS %b HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: POST\r\n\r\n"
        )
        chat = await stage.ask(request % b"/v1/chat/completions")
        models = await stage.ask(request % b"/v1/models/openai/gpt-oss-20b")
        nothing = await stage.ask(request % b"/tokenize")
        assert not runner.claims
    assert (chat.status, chat.body, chat.headers["allow"]) == (204, b"", "POST, OPTIONS")
    assert "content-length" not in chat.headers
    assert (models.status, models.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert nothing.code == "path_not_allowed"

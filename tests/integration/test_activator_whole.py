"""Activator, runner, supervisor and demo engine, all real, without systemd."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from activator_process import (
    LIMIT,
    NAME,
    Answer,
    Stage,
    eventually,
    heard,
    post,
    read_all,
    wait_exit,
)
from runner_world import World, opened, process_model

from spark_activator.catalog.model import Timeouts

# Real containers and whole activations take their time.
pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        yield world


def stage_of(world: World, *, idle: float = 60.0) -> Stage:
    model = process_model(NAME, "--load-time", "0.5", "--tokens-per-second", "50")
    stage = Stage(world.root, layout=world.layout)
    world.runner(replace(model, timeouts=Timeouts(idle=idle)))
    return stage


def chat(*, stream: bool = False, tokens: int = 20) -> bytes:
    content = [{"role": "user", "content": "Tell me a story"}]
    return post(
        json.dumps(
            {"model": NAME, "messages": content, "stream": stream, "max_tokens": tokens}
        ).encode()
    )


async def test_cold_request_is_answered_and_then_all_goes(world: World) -> None:
    stage = stage_of(world, idle=2)
    # Both before it: who came later might find nobody.
    asked = [await stage.knock(chat(stream=stream)) for stream in (False, True)]
    async with stage.activator() as process:
        answer, streamed = [await heard(client) for client in asked]
        assert await wait_exit(process) == 0

    assert answer.status == 200
    assert json.loads(answer.body)["choices"]
    assert b"data: [DONE]" in streamed.body
    unit = world.units[NAME]
    await eventually(lambda: unit.exits == [0])
    assert not list(world.layout.upstream(NAME).iterdir())
    assert world.lease_is_free(NAME)
    stage.close()


async def test_stream_survives_its_runner(world: World) -> None:
    stage = stage_of(world)
    async with stage.activator(), await stage.connect() as client:
        await client.send_all(chat(stream=True, tokens=60))
        received = await begun(client)
        runner = world.units[NAME].process
        assert runner is not None
        runner.send_signal(signal.SIGKILL)
        received += await read_all(client)
        assert b"data: [DONE]" in received
        assert (await stage.ask(chat())).status == 200
    # The engine is the same: its runner came back and adopted it.
    assert len(list(world.layout.upstream(NAME).iterdir())) == 1
    stage.close()


async def test_crashed_activator_costs_no_reload(world: World) -> None:
    stage = stage_of(world)
    async with stage.activator() as process, await stage.connect() as client:
        await client.send_all(chat(stream=True, tokens=1000))
        await begun(client)
        before = list(world.layout.upstream(NAME).iterdir())
        process.kill()
        with trio.fail_after(LIMIT):
            assert b"[DONE]" not in await all_or_broken(client)
    async with stage.activator():
        assert (await stage.ask(chat(tokens=1))).status == 200
    # It is the engine that was there.
    assert list(world.layout.upstream(NAME).iterdir()) == before
    stage.close()


async def begun(client: trio.SocketStream) -> bytes:
    """Read until the engine has said something."""
    received = b""
    with trio.fail_after(LIMIT):
        while b"data: " not in received:
            piece = await client.receive_some()
            assert piece, received
            received += piece
    return received


async def all_or_broken(client: trio.SocketStream) -> bytes:
    received = b""
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in client:
            received += data
    return received


async def test_many_clients_of_a_cold_model_all_get_whole_answers(world: World) -> None:
    stage = stage_of(world)
    answers: list[Answer] = []

    async def one() -> None:
        answers.append(await stage.ask(chat(tokens=2)))

    async with stage.activator(), trio.open_nursery() as clients:
        for _ in range(200):
            clients.start_soon(one)

    assert [answer.status for answer in answers] == [200] * 200
    assert len(list(world.layout.upstream(NAME).iterdir())) == 1
    stage.close()

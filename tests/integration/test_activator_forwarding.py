"""Real activator processes between real sockets: what reaches the engine, and what comes back."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
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


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture
async def runner(stage: Stage, nursery: trio.Nursery) -> ScriptedRunner:
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    return runner


@pytest.fixture
async def engine(stage: Stage, nursery: trio.Nursery) -> TinyEngine:
    engine = TinyEngine(stage, "0a0b0c0d", answer_ok)
    await nursery.start(engine.serve)
    return engine


async def test_forwards_and_marks_the_answer(
    stage: Stage, runner: ScriptedRunner, engine: TinyEngine
) -> None:
    async with stage.activator():
        answer = await stage.post(b'{"model": "story"}')

    assert answer.status == 200
    assert answer.body == b"{}"
    assert answer.headers["connection"] == "close"
    assert len(answer.headers["x-spark-request-id"]) == 16
    [asked] = engine.asked
    assert asked.body == b'{"model": "story"}'
    assert b"connection: close" in asked.head
    assert runner.claims[0].lines[0] == {"role": "demand", "protocol": 1}
    assert runner.claims[0].lines[1] == {"type": "busy", "in_flight": 1}

"""`spark-model chat` with a real activator, runner and demo engine; a terminal where it matters."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from activator_process import LIMIT, NAME, Stage
from runner_world import World, opened, process_model
from terminal import Terminal

from spark_activator.catalog.model import Timeouts
from spark_activator.demo.text import answer_tokens

# A whole activation for each.
pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        yield world


def stage_of(world: World, *options: str) -> Stage:
    # Long enough to be seen, who looks four times a second and may be kept from it.
    model = process_model(NAME, "--load-time", "4", *options)
    stage = Stage(world.root, layout=world.layout)
    # The port is not of the file, so that it is the listener's.
    model = replace(model, port=stage.port, timeouts=Timeouts(idle=60), context=4096)
    world.runner(model)
    stage.model = model
    stage.change()
    world.layout.markers.mkdir(exist_ok=True)
    (world.layout.markers / NAME).touch()
    return stage


def environment(world: World) -> dict[str, str]:
    layout = world.layout
    roots = {"CONFIG": layout.config, "STATE": layout.state, "RUN": layout.run}
    return os.environ | {f"SPARK_{name}": str(path) for name, path in roots.items()}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spark_activator", "chat", NAME, *arguments]


async def test_cold_model_answers_and_shows_its_phases(world: World) -> None:
    stage = stage_of(world, "--text", "echo", "--tokens-per-second", "50")
    async with stage.activator():
        with trio.fail_after(LIMIT):
            done = await trio.run_process(
                command("hello"), env=environment(world), capture_stdout=True, capture_stderr=True
            )
    stage.close()

    assert b"hello" in done.stdout
    assert done.stdout.count(b"\n") == 1
    assert b"weights\n" in done.stderr


async def test_ctrl_c_ends_the_answer_and_ctrl_d_the_conversation(world: World) -> None:
    stage = stage_of(world, "--text", "story", "--tokens-per-second", "20")
    async with stage.activator():
        said, status = await trio.to_thread.run_sync(talk, environment(world))
    stage.close()

    assert status == 0, said
    # The line of the load was rewritten, and is gone before the answer.
    assert "\r\x1b[K" in said
    assert said.count("> ") >= 2


def talk(env: dict[str, str]) -> tuple[str, int]:
    """Ask for a story, interrupt it, leave; return what the terminal showed."""
    question = "Tell me a story"
    story, _ = answer_tokens("story", question, length=64, limit=None, endless=False)
    with Terminal("chat", NAME, environment=env) as terminal:
        terminal.wait_for("> ")
        terminal.type(f"{question}\n")
        # Loading has its line; then the first words of the story.
        terminal.wait_for("weights")
        terminal.wait_for("\r\x1b[K" + "".join(story[:3]))
        terminal.type("\x03")
        terminal.wait_for("> ")
        terminal.type("\x04")
        status = terminal.end()
        return terminal.said, status

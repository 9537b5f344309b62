"""`spark-model chat` with a real activator, runner and demo engine; a terminal where it matters."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from activator_process import LIMIT, NAME, Stage
from runner_world import World, opened, process_model

from spark_activator.catalog.model import Timeouts

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
    terminal, inner = pty.openpty()
    # A session with that terminal, so that what is typed reaches it as signals do.
    shell = ["setsid", "--ctty", "--wait", "env", "--default-signal=INT", *command()]
    process = subprocess.Popen(
        shell, env=env | {"TERM": "dumb"}, stdin=inner, stdout=inner, stderr=inner
    )
    os.close(inner)
    said = read_until(terminal, "> ")
    os.write(terminal, b"Tell me a story\n")
    # Loading has its line; then the first words of the story.
    said += read_until(terminal, "weights")
    said += read_until(terminal, "\r\x1b[K", then=12)
    os.write(terminal, b"\x03")
    said += read_until(terminal, "> ")
    os.write(terminal, b"\x04")
    try:
        return said, process.wait(LIMIT)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(terminal)


def read_until(terminal: int, text: str, then: int = 0) -> str:
    """Read until *text* has come, with *then* characters that are no control after its last."""
    found = ""
    while text not in found or len(found.rpartition(text)[2]) < then:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # the other side has ended
            break
        if not piece:
            break
        found += piece.decode(errors="replace")
    return found

"""The life of one engine, with the runner and its supervisor as real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_world import Activator, World, control, opened, process_model, until

from spark_activator.protocol import Busy, Bye, Failed, Ready, Starting


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        yield world


def test_hello_ready_bye_gone(world: World) -> None:
    unit = world.runner(process_model("a", "--load-time", "0.5"))
    activator = Activator(world, "a")
    activator.say(Busy(1))
    ready = activator.wait(Ready)
    assert (world.layout.upstream("a") / ready.upstream / "engine.sock").is_socket()
    phases = [line.phase for line in activator.seen if isinstance(line, Starting)]
    assert phases[0] == "memory"
    assert "weights" in phases
    assert world.state("a")["phase"] == "ready"

    activator.say(Busy(0))
    activator.say(Bye())
    activator.close()

    until(lambda: unit.exits == [0], what="the runner leaves")
    assert not list(world.layout.upstream("a").iterdir())
    assert world.state("a") == {}
    assert world.lease_is_free("a")
    assert unit.starts == 1

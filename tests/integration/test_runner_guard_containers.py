"""The guard of a load whose engine is a container: killed, not asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from docker_world import containers, opened_with_docker
from fake_proc import GIB, FakeProc
from runner_world import Activator, World, container_model, until

from spark_activator.protocol import Busy, Failed, Starting
from spark_activator.runner.spec import STOP_TIMEOUT

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened_with_docker(tmp_path) as world:
        yield world


def test_container_that_does_not_hear_is_ended_at_once(world: World, tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc", 16 * GIB)
    world.layout = replace(world.layout, proc=proc.root)
    name = f"guard-test-{os.getpid()}"
    world.runner(container_model(name, "--load-time", "60", "--ignore-sigterm"))
    a = Activator(world, name)
    a.say(Busy(1))
    while a.wait(Starting).phase != "weights":
        pass

    proc.available(GIB)

    failed = a.wait(Failed)
    assert failed.code == "memory_short"
    assert "below its floor: 1.0 of 16.0 GiB were available, 2.0 GiB have to stay" in failed.message
    proc.available(16 * GIB)
    # A quarter of the grace that it would have had, on a busy machine.
    until(lambda: containers(name) == [], limit=STOP_TIMEOUT / 4)
    until(lambda: world.lease_is_free(name))

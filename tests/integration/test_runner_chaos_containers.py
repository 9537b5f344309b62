"""Runners of containers that are killed at any moment: never two engines, never one left over."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import each_served, storm
from docker_world import remove_all
from runner_world import World, container_model, opened, until

from spark_activator.runner.spec import RUN_LABEL

NAMES = tuple(f"runner-chaos-{os.getpid()}-{letter}" for letter in "ab")


def running(world: World, *options: str) -> list[str]:
    """The containers of this installation, as Docker lists them."""
    label = f"label={RUN_LABEL}={world.layout.run}"
    command = ["docker", "ps", "-q", *options, "--filter", label]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        for name in NAMES:
            world.runner(container_model(name, "--load-time", "0.3"))
        yield world
    remove_all(f"label={RUN_LABEL}={world.layout.run}")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 8))]
)
def test_never_two_containers_whatever_is_killed(world: World, seed: int) -> None:
    # A start takes about two seconds here: kills fall into each part of it.
    most, kills = storm(
        world,
        NAMES,
        seed=seed,
        seconds=15,
        least=6,
        pause=(0.1, 1.5),
        count=lambda: len(running(world)),
    )

    assert most <= 1
    for name in each_served(world, NAMES):
        assert len(running(world)) == 1, name
    until(lambda: running(world, "-a") == [])
    until(lambda: all(world.lease_is_free(name) for name in NAMES))
    print(f"{kills} kills")

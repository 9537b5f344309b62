"""Runners that are killed at any moment: never two engines, and always an answer in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import all_served, each_served, engines_at_once, running_engines, storm
from logged import violations
from runner_world import World, opened, process_model, until

NAMES = "abc"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        for name in NAMES:
            world.runner(process_model(name, "--load-time", "0.3"))
        yield world


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))]
)
def test_never_two_engines_whatever_is_killed(world: World, seed: int) -> None:
    most, kills = storm(
        world,
        NAMES,
        seed=seed,
        seconds=12,
        least=11,
        pause=(0.05, 0.4),
        count=lambda: engines_at_once(world),
    )

    assert most <= 1
    # Left alone, each of them is served.
    for name in each_served(world, NAMES):
        assert engines_at_once(world) == 1, name
    until(lambda: all(world.lease_is_free(name) for name in NAMES))
    until(lambda: running_engines(world) == [])
    print(f"{kills} kills")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "seed", [21, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(22, 30))]
)
def test_kill_any_of_three_with_ten_waiters(world: World, seed: int) -> None:
    most, kills = storm(
        world,
        NAMES,
        seed=seed,
        seconds=15,
        least=11,
        pause=(0.05, 0.8),
        count=lambda: engines_at_once(world),
        waiters=10,
    )

    assert most <= 1
    all_served(world, NAMES, waiters=10, limit=100)
    until(lambda: all(world.lease_is_free(name) for name in NAMES))
    until(lambda: running_engines(world) == [])
    assert violations(world.root) == []
    print(f"{kills} kills")

"""Two models are wanted at once and one fits: every order in which their runners can plan.

The order is made, not hoped for: see plan_arbiter.py.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from chaos import engines_at_once, running_engines
from logged import violations
from plan_arbiter import Arbiter, Trap, stopped
from runner_world import LIMIT, Activator, World, opened, process_model, until

from spark_activator.protocol import Busy, Bye, Ready

pytestmark = pytest.mark.slow

NAMES = "ab"
WORDS = ["".join(word) for word in itertools.product(NAMES, repeat=4)]
ATTEMPTS = 8
# One of each kind: alternating, one before the other, and one inside the other.
SAMPLE = {"abab", "aabb", "abba", "bbaa"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        for name in NAMES:
            world.runner(process_model(name))
        yield world


@pytest.fixture
def arbiter(world: World) -> Iterator[Arbiter]:
    arbiter = Arbiter(world.layout.gpu)
    yield arbiter
    arbiter.close()


class Round:
    """Both models are asked for, served, and left; who watches sees never two engines."""

    def __init__(self, world: World) -> None:
        self.most = 0
        self.served: list[str] = []
        self.order: list[str] = []
        self._world = world
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._clients: list[threading.Thread] = []
        self._watcher.start()

    def ask(self, name: str, activator: Activator) -> None:
        client = threading.Thread(target=self._serve, args=(name, activator), daemon=True)
        client.start()
        self._clients.append(client)

    def ask_with(self, name: str, together: threading.Barrier) -> None:
        """Connect when all of *together* do."""

        def serve() -> None:
            together.wait()
            self._serve(name, Activator(self._world, name))

        client = threading.Thread(target=serve, daemon=True)
        client.start()
        self._clients.append(client)

    def finish(self) -> None:
        """Return when all were served and nothing is left."""
        for client in self._clients:
            client.join(2 * LIMIT)
        until(lambda: running_engines(self._world) == [])
        self._over.set()
        self._watcher.join()
        assert self.most == 1
        assert self.served == []

    def _serve(self, name: str, activator: Activator) -> None:
        activator.say(Busy(1))
        activator.wait(Ready, limit=1.5 * LIMIT)
        # Its engine is here as long as we are, and is counted in any case.
        self._look()
        with self._lock:
            self.served.append(name)
            assert self.served == [name], "two are ready at once"
            self.order.append(name)
        with self._lock:
            self.served.remove(name)
        activator.say(Bye())
        activator.close()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self._look()

    def _look(self) -> None:
        there = engines_at_once(self._world)
        with self._lock:
            self.most = max(self.most, there)


def both_wait(world: World, arbiter: Arbiter) -> dict[str, Activator]:
    """Ask for both models; on return both runners wait for the lock at the same instant."""
    activators = {name: Activator(world, name) for name in NAMES}
    for unit in world.units.values():
        until(lambda unit=unit: unit.process is not None)
    arbiter.wait_waiting(*world.units.values())
    assert running_engines(world) == []
    return activators


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "word", [pytest.param(word, marks=() if word in SAMPLE else pytest.mark.long) for word in WORDS]
)
def test_every_order_of_the_first_sections(world: World, word: str) -> None:
    # A runner may be quicker than the arbiter and have two sections in a row: another order,
    # in which the same must hold.  Then the one that was wanted is made again.
    had = ""
    for _ in range(ATTEMPTS):
        with closing(Arbiter(world.layout.gpu)) as arbiter:
            activators = both_wait(world, arbiter)
            watched = Round(world)
            for name, activator in activators.items():
                watched.ask(name, activator)
            had = ""
            for name in word:
                others = [unit for other, unit in world.units.items() if other != name]
                had += name * arbiter.grant(world.units[name], others)
            arbiter.free()
            watched.finish()
        assert sorted(watched.order) == ["a", "b"]
        assert violations(world.root) == []
        print(f"wanted {word}, had {had}; served {watched.order}")
        if had == word:
            return
        until(lambda: all(unit.idle for unit in world.units.values()))
    raise AssertionError(f"could not make {word}, but {had}")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fate", ["goes on", "is killed"])
@pytest.mark.parametrize("where", ["ticket", "lease"])
@pytest.mark.parametrize("first", NAMES)
def test_one_that_stops_inside_its_section(
    world: World, arbiter: Arbiter, first: str, where: str, fate: str
) -> None:
    activators = both_wait(world, arbiter)
    [second] = set(NAMES) - {first}
    inside, outside = world.units[first], world.units[second]
    watched = Round(world)
    trap = Trap(arbiter, inside, where)
    with stopped([outside]):
        watched.ask(second, activators[second])
        activators[first].say(Busy(1))
        arbiter.free()
        # It has taken its own lock too, and does not come out of the section.
        lock = world.layout.gpu / f"{where}-{first}.lock"
        until(lambda: lock.exists() and arbiter.holds(inside))
    before = arbiter.asked(outside)
    until(lambda: arbiter.asked(outside) > before + 20, what="the other asks for the lock")

    assert arbiter.holds(inside)
    assert running_engines(world) == []
    assert not (world.layout.gpu / f"lease-{second}.json").exists()
    if fate == "goes on":
        trap.open()
        watched.ask(first, activators[first])
    else:
        inside.kill()
        trap.remove()
        activators[first].close()
        watched.ask(first, Activator(world, first))
    watched.finish()

    assert sorted(watched.order) == ["a", "b"]
    assert violations(world.root) == []


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(10, marks=pytest.mark.timeout(400)),
        pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_storm_of_first_requests_in_the_same_millisecond(world: World, rounds: int) -> None:
    first: list[str] = []
    for _ in range(rounds):
        watched = Round(world)
        together = threading.Barrier(len(NAMES))
        for name in NAMES:
            watched.ask_with(name, together)
        watched.finish()
        assert sorted(watched.order) == ["a", "b"]
        first.append(watched.order[0])
        # Runners that have left are started again, as by the first request ever.
        until(lambda: all(unit.idle for unit in world.units.values()))

    assert violations(world.root) == []
    print(f"{rounds} rounds, {first.count('a')} of them served a first")

"""Clients that keep asking while runners are killed at any moment."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from runner_world import Activator, World

from spark_activator.protocol import Busy, Bye, Ready


def storm(
    world: World,
    names: Sequence[str],
    *,
    seed: int,
    seconds: float,
    least: int,
    pause: tuple[float, float],
    count: Callable[[], int],
    waiters: int | None = None,
) -> tuple[int, int]:
    """Kill runners for *seconds*, and until it were *least*, between two pauses of that range.

    Args:
        count: How many engines there are at one moment.
        waiters: How many clients ask meanwhile; one a model where it is not said.

    Returns:
        The most that *count* ever said, and how many runners were killed.
    """
    chance = random.Random(seed)
    most = kills = 0
    end, over = time.monotonic() + seconds, threading.Event()
    asking = list(itertools.islice(itertools.cycle(names), waiters or len(names)))
    clients = [
        threading.Thread(target=_ask, args=(world, name, over), daemon=True) for name in asking
    ]
    for client in clients:
        client.start()
    while time.monotonic() < end or kills < least:
        time.sleep(chance.uniform(*pause))  # noqa: TID251  # kills come at any moment
        most = max(most, count())
        unit = world.units[chance.choice(names)]
        if unit.process is not None and unit.process.poll() is None:
            unit.kill(signal.SIGKILL)
            kills += 1
    over.set()
    for client in clients:
        client.join()
    return most, kills


def _ask(world: World, name: str, over: threading.Event) -> None:
    """Ask, be served, go, and come back when the connection is lost, as soon as it is made even."""
    while not over.is_set():
        # A connection that is left open is demand: it ends with its client.
        with (
            contextlib.suppress(AssertionError, OSError),
            contextlib.closing(Activator(world, name)) as activator,
        ):
            activator.say(Busy(1))
            activator.wait(Ready, limit=20)
            activator.say(Bye())


def all_served(world: World, names: Sequence[str], *, waiters: int, limit: float) -> None:
    """Have *waiters* clients ask at once, and return when each of them was served.

    Raises:
        AssertionError: Not all of them were within *limit* seconds.
    """
    served: list[str] = []

    def ask(name: str) -> None:
        with contextlib.closing(Activator(world, name)) as activator:
            activator.say(Busy(1))
            activator.wait(Ready, limit=limit)
            served.append(name)
            activator.say(Bye())

    asking = list(itertools.islice(itertools.cycle(names), waiters))
    clients = [threading.Thread(target=ask, args=(name,), daemon=True) for name in asking]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert sorted(served) == sorted(asking)


def each_served(world: World, names: Sequence[str]) -> Iterator[str]:
    """Have each of these served, one after the other; its name comes while it is."""
    for name in names:
        with contextlib.closing(Activator(world, name)) as activator:
            activator.say(Busy(1))
            activator.wait(Ready)
            yield name
            activator.say(Bye())


def engines_at_once(world: World) -> int:
    """How many engines there are at one moment.

    One supervisor is asked after the other, and meanwhile one engine may have gone and
    another come: those that are found twice were all there between the two looks.
    """
    return len(set(running_engines(world)) & set(running_engines(world)))


def running_engines(world: World) -> list[int]:
    """The processes that are engines; supervisors are none."""
    return [
        pid
        for unit in world.engines.values()
        if unit.process is not None and unit.process.poll() is None
        for pid in unit.children()
    ]

"""Clients of a simulated machine, and runs of them: open arrivals, and agents in closed loops."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sharing_world import Decide, Request, Spec, World

# An answer takes 12 s on average, and some take minutes.
SIGMA = 0.8
# A call that does not fit into the drain would be cut in each try, for ever.
LONGEST_CALL = 100.0
# What a client waits before it gives up, and before it asks again.
PATIENCE = 300.0
RETRY = 2.0


@dataclass
class Waits:
    """What the clients of one run saw, by model."""

    by_model: dict[str, list[float]] = field(default_factory=dict)
    cut: int = 0

    def add(self, model: str, seconds: float) -> None:
        self.by_model.setdefault(model, []).append(seconds)

    @property
    def all(self) -> list[float]:
        return [wait for waits in self.by_model.values() for wait in waits]


Clients = Callable[[World, random.Random, Waits, float], None]


def specs(costs: dict[str, float], memory: int = 10, slots: int = 16) -> list[Spec]:
    """Make one model for each of *costs*; with the default memory only one fits."""
    return [
        Spec(name, memory, start=0.9 * cost, stop=0.1 * cost, slots=slots)
        for name, cost in costs.items()
    ]


# Open arrivals.


def service(dice: random.Random, mean: float = 12.0) -> float:
    return mean * dice.lognormvariate(-SIGMA * SIGMA / 2, SIGMA)


def ask_at(world: World, waits: Waits, when: float, model: str, seconds: float) -> None:
    def done(request: Request, how: str) -> None:
        waits.cut += how == "cut"
        if request.began is not None:
            waits.add(model, request.began - request.arrived)

    world.at(when, lambda: world.ask(Request(model, seconds, done=done)))


def poisson(dice: random.Random, every: float, until: float) -> Iterator[float]:
    now = dice.expovariate(1 / every)
    while now < until:
        yield now
        now += dice.expovariate(1 / every)


def arrivals(**models: tuple[float, int, float]) -> Clients:
    """Each model: a session every so many seconds, of so many requests, so far apart."""

    def start(world: World, dice: random.Random, waits: Waits, until: float) -> None:
        for model, (every, burst, gap) in models.items():
            for when in poisson(dice, every, until):
                for _ in range(burst):
                    ask_at(world, waits, when, model, service(dice))
                    when += service(dice) + dice.expovariate(1 / gap)

    return start


# Closed loops.


class Agent:
    """Calls, reads, calls again; gives up after `PATIENCE` and asks for the same again."""

    def __init__(self, world: World, dice: random.Random, waits: Waits, model: str, calls: int):
        self.world, self.dice, self.waits = world, dice, waits
        self.model, self.calls = model, calls
        self.finished: float | None = None
        self._asked = 0.0
        self.tries = 0
        world.after(self.first(), self._call)

    # What it does, and when, in seconds; see `sharing_trace` for agents with a script.

    patience, retry = PATIENCE, RETRY

    def first(self) -> float:
        return self.dice.uniform(0, 30)

    def seconds(self) -> float:
        return min(service(self.dice, 20.0), LONGEST_CALL)

    def pause(self) -> float:
        rests = self.dice.random() < 0.4
        return self.dice.uniform(15, 90) if rests else self.dice.uniform(3, 10)

    def _call(self) -> None:
        self._asked = self.world.now
        self._seconds = self.seconds()
        self._try()

    def _try(self) -> None:
        self.tries += 1
        request = Request(self.model, self._seconds, done=self._done)
        self.world.after(self.patience, lambda: self._give_up(request))
        self.world.ask(request)

    def _give_up(self, request: Request) -> None:
        if request.began is None:
            self.world.leave(request)

    def _done(self, request: Request, how: str) -> None:
        if how != "served":
            self.waits.cut += how == "cut"
            self.world.after(self.retry, self._try)
            return
        assert request.began is not None
        self.waits.add(self.model, request.began - self._asked)
        self.calls -= 1
        if self.calls == 0:
            self.finished = self.world.now
            return
        self.world.after(self.pause(), self._call)


@dataclass
class Result:
    """One run: *seconds* it lasted, and what was measured."""

    waits: Waits
    seconds: float
    swaps: int
    switching: float

    def cells(self) -> str:
        waits = self.waits
        cells = [f"{statistics.fmean(waits.all):.0f}"]
        for model in sorted(waits.by_model):
            of = waits.by_model[model]
            cells.append(f"{statistics.fmean(of):.0f} ({max(of):.0f})")
        hours = self.seconds / 3600
        cells += [f"{self.swaps / hours:.1f}", f"{100 * self.switching / self.seconds:.0f} %"]
        return " | ".join([*cells, f"{hours:.1f}", str(waits.cut)])


def run_open(
    decide: Decide, models: Sequence[Spec], clients: Clients, hours: float, seed: int
) -> Result:
    world, waits, until = World(10, models, decide=decide), Waits(), hours * 3600
    clients(world, random.Random(seed), waits, until)
    # Who still waits at the end gets an hour to be served, and to be counted.
    world.run(until)
    result = Result(waits, until, world.starts, world.switching)
    world.run(until + 3600)
    return result


def run_agents(decide: Decide, models: Sequence[Spec], calls: int, seed: int) -> Result:
    world, waits = World(10, models, decide=decide), Waits()
    dice = random.Random(seed)
    agents = [Agent(world, dice, waits, spec.name, calls) for spec in models]
    limit = 200 * 3600.0
    while world.now < limit and any(agent.finished is None for agent in agents):
        world.run(world.now + 5)
    return Result(waits, world.now, world.starts, world.switching)


HOT_AND_RARE = arrivals(hot=(2.5, 1, 1.0), rare=(900.0, 1, 1.0))
HOTTER = arrivals(hot=(1.8, 1, 1.0), rare=(900.0, 1, 1.0))
HOME = arrivals(chat=(900.0, 6, 20.0), code=(3600.0, 6, 20.0), vision=(5400.0, 6, 20.0))
EQUAL = arrivals(left=(900.0, 6, 20.0), right=(900.0, 6, 20.0))

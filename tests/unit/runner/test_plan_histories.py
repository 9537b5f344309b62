"""What holds whatever happens: random histories of a machine that is driven by the plan.

`sharing_judge` looks on; at the end everything is given the time to come to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, note
from hypothesis import strategies as st
from search import SEARCH
from sharing_judge import BUDGET, Judge, size
from sharing_world import Request, Spec

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan import Contention, Lease, LeaseState, Pause, Settings

SECONDS = st.sampled_from([0.0, 0.3, 2.0, 9.0, 15.0, 40.0, 70.0, 125.0, 310.0, 800.0])
SERVICE = st.sampled_from([0.2, 5.0, 20.0, 20.0, 90.0, 900.0])
NAMES = ("a", "b", "c", "d")


@st.composite
def models(draw: st.DrawFn) -> list[Spec]:
    specs = []
    for name in NAMES[: draw(st.integers(2, 4))]:
        specs.append(
            Spec(
                name,
                memory=draw(st.sampled_from([2, 3, 5, 6, 7, 9])),
                start=draw(st.sampled_from([4.0, 20.0, 60.0, 130.0, 500.0])),
                stop=draw(st.sampled_from([1.0, 10.0])),
                priority=draw(st.sampled_from([0, 0, 0, 1])),
                pinned=draw(st.integers(0, 9)) == 9,
            )
        )
    special = draw(st.sampled_from(["none", "none", "utility", "both"]))
    if special != "none":
        specs.append(Spec("u", 1, start=15.0, stop=1.0, lifecycle=Lifecycle.UTILITY))
    if special == "both":
        specs.append(Spec("x", 8, start=40.0, stop=5.0, lifecycle=Lifecycle.EXCLUSIVE))
    return specs


ACTS = st.sampled_from(
    ["ask"] * 8 + ["stream"] * 3 + ["give up", "give up", "come back", "foreign", "pause"]
)
STEPS = st.lists(st.tuples(SECONDS, ACTS, st.integers(0, 9), SERVICE), min_size=2, max_size=14)
CONTENTION = st.sampled_from([Contention.WAIT, Contention.WAIT, Contention.REJECT])


@dataclass
class Actor:
    """Does to a world what a history says."""

    world: Judge
    names: list[str]
    asked: list[Request] = field(default_factory=list)

    def do(self, act: str, which: int, seconds: float) -> None:
        name = self.names[which % len(self.names)]
        if act == "ask":
            self.ask(name, seconds)
        elif act == "stream":
            # Overlapping requests: never idle for a while.
            for number in range(24):
                self.world.after(number * 50.0, lambda: self.ask(name, 55.0))
        elif act == "give up":
            self.give_up(name)
        elif act == "come back":
            # Whoever gives up and asks again within two minutes.
            self.give_up(name)
            self.world.after(which * 10.0, lambda: self.ask(name, seconds))
        elif act == "foreign":
            self.foreign(seconds * 10)
        elif act == "pause":
            self.pause(seconds)

    def ask(self, name: str, seconds: float) -> None:
        request = Request(name, seconds)
        self.asked.append(request)
        self.world.ask(request)

    def give_up(self, name: str) -> None:
        for request in self.asked:
            if request.model == name and request.began is None:
                self.world.leave(request)

    def foreign(self, seconds: float) -> None:
        free = BUDGET - sum(size(lease) for lease in self.world.leases())
        if free < 2 or self.world.foreign:
            return
        until = self.world.now + seconds
        lease = Lease("comfy", 2, LeaseState.READY, foreign=True, until=until)
        self.world.hold(lease, "comfy")
        self.world.after(seconds, lambda: self.world.hold(None, "comfy"))

    def pause(self, seconds: float) -> None:
        settings = self.world.settings
        until = self.world.now + seconds
        self.world.pause_changed(Settings(contention=settings.contention, pause=Pause(until=until)))
        self.world.after(
            seconds,
            lambda: self.world.pause_changed(Settings(contention=settings.contention)),
        )


@SEARCH
@given(models(), STEPS, CONTENTION, st.integers(0, 2**16))
def test_the_rules_hold_in_every_history(
    specs: list[Spec],
    steps: list[tuple[float, str, int, float]],
    contention: Contention,
    seed: int,
) -> None:
    world = Judge(specs, Settings(contention=contention), seed)
    actor = Actor(world, [spec.name for spec in specs])
    when = 0.0
    for wait, act, which, seconds in steps:
        when += wait
        world.at(when, lambda act=act, which=which, seconds=seconds: actor.do(act, which, seconds))  # type: ignore[misc]  # mypy guesses no defaults
    world.run(when + 5 * 3600)
    note(str(world.judged))

    # Nobody is forgotten: every request has ended, and every ticket.
    assert all(request.ended for request in actor.asked)
    assert not [ticket for ticket in world.tickets() if not ticket.returning]

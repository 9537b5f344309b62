"""A machine with one GPU, its runners and their clients, in simulated time, driven by a plan.

Everything that a runner does is here as it is there: it plans anew when
something has changed, a little later than it happened, and carries out only the
step that names its own model.  Starts and stops take turns at `init.lock`.
The plan is a parameter, so that others can be compared with ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sharing_clock import Clock

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan import (
    GiveWay,
    Lease,
    LeaseState,
    Leave,
    Plan,
    Refuse,
    Settings,
    Take,
    Ticket,
    plan,
)
from spark_activator.runner.plan_values import GOING


class Decide(Protocol):
    """What `plan` is."""

    def __call__(
        self,
        budget: int,
        leases: Sequence[Lease],
        tickets: Sequence[Ticket],
        settings: Settings,
        now: float,
    ) -> Plan: ...


@dataclass(frozen=True)
class Spec:
    """A model: bytes and seconds; *slots* is how many requests its engine takes at once."""

    name: str
    memory: int
    start: float = 60.0
    stop: float = 5.0
    drain: float = 120.0
    idle: float = 20 * 60.0
    lifecycle: Lifecycle = Lifecycle.NORMAL
    priority: int = 0
    pinned: bool = False
    slots: int = 1000

    @property
    def cost(self) -> float:
        return self.start + self.stop


@dataclass(eq=False)
class Request:
    """One request of one client; *done* hears how it ended: served, refused or cut."""

    model: str
    service: float
    arrived: float = 0.0
    began: float | None = None
    done: Callable[[Request, str], None] = lambda request, how: None
    held_at_ready: bool = False
    ended: str = ""


@dataclass
class Runner:
    """One model's runner."""

    spec: Spec
    lease: Lease | None = None
    ticket: Ticket | None = None
    held: list[Request] = field(default_factory=list)
    serving: set[Request] = field(default_factory=set)
    # Marks the end of one activation, so that what was set for it does nothing later.
    turn: int = 0


class World(Clock):
    """The machine.

    Args:
        budget: Bytes.
        specs: The models.
        decide: The plan.
        settings: The owner's.
        poll: Seconds between two looks of a runner while anybody waits.
        late: How much later than it happened a runner sees a change.
    """

    def __init__(
        self,
        budget: int,
        specs: Sequence[Spec],
        *,
        decide: Decide = plan,
        settings: Settings | None = None,
        poll: float = 1.0,
        late: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__()
        self.budget = budget
        self.runners = {spec.name: Runner(spec) for spec in specs}
        self.foreign: dict[str, Lease] = {}
        self.decide = decide
        self.settings = settings or Settings()
        self.poll = poll
        self.late = late
        self.starts = 0
        self._looks: dict[str, float] = {}

    # What others hear and check; see the tests.

    def before_step(self, runner: Runner, decided: Plan) -> None:
        """Look at a plan before *runner* carries out its part."""

    # Clients.

    def ask(self, request: Request) -> None:
        runner = self.runners[request.model]
        request.arrived = self.now
        lease = runner.lease
        if lease is None or lease.state in GOING:
            runner.held.append(request)
            self._want(runner)
        elif lease.state is LeaseState.STARTING or len(runner.serving) >= runner.spec.slots:
            runner.held.append(request)
            self._count(runner)
        else:
            self._serve(runner, request)
        self._changed()

    def leave(self, request: Request) -> None:
        """The client goes, whatever happens to its request."""
        self._end(request, "left")

    def pause_changed(self, settings: Settings) -> None:
        self.settings = settings
        self._changed()

    def hold(self, lease: Lease | None, name: str) -> None:
        """Let a foreign program hold *lease*, or no longer."""
        if lease is None:
            self.foreign.pop(name, None)
        else:
            self.foreign[name] = lease
        self._changed()

    # What is known under `plan.lock`.

    def leases(self) -> list[Lease]:
        held = [runner.lease for runner in self.runners.values() if runner.lease is not None]
        return [*held, *self.foreign.values()]

    def tickets(self) -> list[Ticket]:
        return [runner.ticket for runner in self.runners.values() if runner.ticket is not None]

    def decided(self) -> Plan:
        return self.decide(self.budget, self.leases(), self.tickets(), self.settings, self.now)

    # Runners.

    def _changed(self) -> None:
        for name, runner in self.runners.items():
            if runner.lease is not None or runner.ticket is not None:
                self._look_at(name, self.now + self.late())

    def _look_at(self, name: str, when: float) -> None:
        if self._looks.get(name, float("inf")) <= when:
            return
        self._looks[name] = when
        self.at(when, lambda: self._look(name, when))

    def _look(self, name: str, when: float) -> None:
        if self._looks.get(name) != when:
            return
        del self._looks[name]
        runner = self.runners[name]
        if self._is_settled(runner):
            return
        decided = self.decided()
        self.before_step(runner, decided)
        if not self._step(runner, decided) and self.tickets():
            self._look_at(name, self.now + self.poll)

    @staticmethod
    def _is_settled(runner: Runner) -> bool:
        waits_for_nobody = runner.lease is None or runner.lease.state in GOING
        return runner.ticket is None and waits_for_nobody

    def _step(self, runner: Runner, decided: Plan) -> bool:
        name, step = runner.spec.name, None
        if runner.ticket is not None:
            step = decided.waiters[name]
        if isinstance(step, Take):
            self._take(runner)
        elif isinstance(step, Leave | Refuse):
            runner.ticket = None
            for request in runner.held.copy():
                self._end(request, "refused")
            self._changed()
        elif runner.lease is not None and isinstance(decided.holders[name], GiveWay):
            if runner.lease.state not in GOING:
                self._give_way(runner)
                return True
            return False
        else:
            return False
        return True

    def _want(self, runner: Runner) -> None:
        spec, ticket = runner.spec, runner.ticket
        if ticket is None or ticket.returning:
            runner.ticket = Ticket(
                spec.name, spec.memory, self.now, spec.priority, spec.lifecycle,
                spec.cost, spec.start,
            )  # fmt: skip
        elif ticket.abandoned_at is not None:
            runner.ticket = replace(ticket, abandoned_at=None)

    def _take(self, runner: Runner) -> None:
        spec = runner.spec
        runner.ticket = None
        runner.turn += 1
        turn = runner.turn
        runner.lease = Lease(
            spec.name, spec.memory, LeaseState.STARTING, len(runner.held), self.now,
            lifecycle=spec.lifecycle, priority=spec.priority, pinned=spec.pinned, cost=spec.cost,
        )  # fmt: skip
        self.starts += 1
        self.initialise(
            runner,
            spec.start,
            lambda: self._describe(runner, turn, baseline=0),
            lambda: self._ready(runner, turn),
        )
        self._changed()

    def _describe(self, runner: Runner, turn: int, **changes: object) -> None:
        if runner.lease is not None and runner.turn == turn:
            runner.lease = replace(runner.lease, **changes)  # type: ignore[arg-type]  # of any field
            self._changed()

    def _ready(self, runner: Runner, turn: int) -> None:
        lease = runner.lease
        if lease is None or runner.turn != turn or lease.state is not LeaseState.STARTING:
            return
        runner.lease = replace(
            lease, state=LeaseState.READY, since=self.now, ready_since=self.now,
            idle_since=self.now, held=len(runner.held),
        )  # fmt: skip
        for request in runner.held:
            request.held_at_ready = True
        self._fill(runner)
        self._watch_idle(runner)
        self._changed()

    def _fill(self, runner: Runner) -> None:
        while runner.held and len(runner.serving) < runner.spec.slots:
            self._serve(runner, runner.held.pop(0))
        self._count(runner)

    def _serve(self, runner: Runner, request: Request) -> None:
        request.began = self.now
        runner.serving.add(request)
        self.after(request.service, lambda: self._end(request, "served"))
        self._count(runner)

    def _count(self, runner: Runner) -> None:
        lease = runner.lease
        if lease is None:
            return
        held = 0 if lease.state in GOING else len(runner.held)
        in_flight = len(runner.serving) + held
        idle = lease.idle_since
        if in_flight or lease.state is not LeaseState.READY:
            idle = None
        elif lease.in_flight or idle is None:
            idle = self.now
            self._watch_idle(runner)
        runner.lease = replace(lease, in_flight=in_flight, idle_since=idle)

    def _watch_idle(self, runner: Runner) -> None:
        turn, since = runner.turn, self.now

        def go() -> None:
            lease = runner.lease
            if lease is None or runner.turn != turn or lease.idle_since != since:
                return
            if lease.state is LeaseState.READY and not runner.spec.pinned:
                self._stop(runner)

        if runner.spec.lifecycle is not Lifecycle.UTILITY:
            self.after(runner.spec.idle, go)

    def _end(self, request: Request, how: str) -> None:
        if request.ended:
            return
        request.ended = how
        runner = self.runners[request.model]
        if request in runner.serving:
            runner.serving.remove(request)
        if request in runner.held:
            runner.held.remove(request)
        lease = runner.lease
        if lease is not None and request.held_at_ready:
            runner.lease = lease = replace(lease, held=max(0, lease.held - 1))
        if lease is not None and lease.state is LeaseState.READY:
            self._fill(runner)
        self._count(runner)
        ticket = runner.ticket
        if ticket is not None and not runner.held and not ticket.returning:
            runner.ticket = replace(ticket, abandoned_at=self.now)
        if lease is not None and lease.state is LeaseState.YIELDING and not runner.serving:
            self._stop(runner)
        self._changed()
        request.done(request, how)

    def _give_way(self, runner: Runner) -> None:
        assert runner.lease is not None
        turn = runner.turn
        runner.lease = replace(runner.lease, state=LeaseState.YIELDING, since=self.now)
        if runner.held:
            self._want(runner)
        elif runner.spec.lifecycle is Lifecycle.UTILITY:
            self._want(runner)
            assert runner.ticket is not None
            runner.ticket = replace(runner.ticket, returning=True)
        self._count(runner)
        if runner.serving:
            self.after(runner.spec.drain, lambda: self._cut(runner, turn))
        else:
            self._stop(runner)
        self._changed()

    def _cut(self, runner: Runner, turn: int) -> None:
        if runner.turn == turn:
            for request in list(runner.serving):
                self._end(request, "cut")

    def _stop(self, runner: Runner) -> None:
        lease = runner.lease
        if lease is None or lease.state is LeaseState.STOPPING:
            return
        runner.lease = replace(lease, state=LeaseState.STOPPING, since=self.now)
        self.initialise(runner, runner.spec.stop, lambda: None, lambda: self._free(runner))
        self._changed()

    def _free(self, runner: Runner) -> None:
        runner.lease = None
        runner.turn += 1
        self._changed()

"""A simulated machine that fails where a rule of the plan is broken.

Each look of each runner is judged against the rules, worked out here a second
time and more simply.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from sharing_world import Runner, Spec, World

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan import (
    Contention,
    GiveWay,
    Lease,
    LeaseState,
    Leave,
    Plan,
    Reason,
    Refusal,
    Refuse,
    Settings,
    Take,
    Ticket,
)
from spark_activator.runner.plan_values import GOING

BUDGET = 10
# Runners look again this often; in between they hear of changes within LATE.
POLL = 8.0
LATE = 1.0
# Between two things that follow from each other somebody has to look.
LOOKS = 4 * (POLL + LATE)


def clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def age_bound(ticket: Ticket, lease: Lease) -> float:
    """A, where *lease* alone has to go."""
    return clamp(1.5 * ((ticket.cost or 0) + (lease.cost or 0)), 60, 1200)


def size(one: Lease | Ticket) -> int:
    return BUDGET if one.lifecycle is Lifecycle.EXCLUSIVE else one.memory or 0


@dataclass
class Waiting:
    """What a ticket may expect.

    *until* is for one that nobody joins, *at_last* for all; None where nothing is promised.
    """

    ticket: Ticket
    until: float | None
    at_last: float | None


@dataclass
class Judged:
    """What happened, to say whether a history was of any use."""

    takes: int = 0
    ways: list[Reason] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


class Judge(World):
    """A world that fails where a rule is broken."""

    def __init__(self, specs: list[Spec], settings: Settings, seed: int) -> None:
        self.dice = random.Random(seed)
        super().__init__(
            BUDGET, specs, settings=settings, poll=POLL, late=lambda: self.dice.uniform(0, LATE)
        )
        self.waiting: dict[str, Waiting] = {}
        self.judged = Judged()
        self.exclusive_gone: float | None = None

    # After each event.

    def check(self) -> None:
        self.check_budget()
        self.check_waiting()
        self.check_utilities()

    def check_budget(self) -> None:
        leases = self.leases()
        assert sum(size(lease) for lease in leases) <= BUDGET

    def check_waiting(self) -> None:
        tickets = {ticket.model: ticket for ticket in self.tickets() if not ticket.returning}
        for name in set(self.waiting) - set(tickets):
            del self.waiting[name]
        for name, ticket in tickets.items():
            known = self.waiting.get(name)
            if known is None:
                last = self.now + self.turns()
                known = self.waiting[name] = Waiting(ticket, self.promise(ticket), last)
            # Age and place stay, whoever comes and goes.
            assert ticket.since == known.ticket.since
            if ticket.abandoned_at is not None:
                assert self.now - ticket.abandoned_at <= 120 + LOOKS
                known.until = known.at_last = None
            if self.foreign or self.settings.pause is not None:
                known.at_last = None
            if not self.alone(ticket):
                known.until = None
            assert known.until is None or self.now <= known.until, (name, self.now)
            assert known.at_last is None or self.now <= known.at_last, (name, self.now)

    def promise(self, ticket: Ticket) -> float | None:
        """When the lease is its own at the latest: A, drain and stop after it came.

        For one that comes while all are settled, and whom nobody joins.
        """
        holders = [lease for lease in self.leases() if lease.model != ticket.model]
        if any(lease.state is not LeaseState.READY for lease in holders):
            return None
        bounds = [age_bound(ticket, lease) for lease in holders]
        ready = [lease.ready_since or 0.0 for lease in holders]
        # Rule 6: who has just become ready stays for those who were held.
        starts = [
            self.now,
            *(when for when, lease in zip(ready, holders, strict=True) if lease.held),
        ]
        drain = max(runner.spec.drain for runner in self.runners.values())
        stops = sum(runner.spec.stop for runner in self.runners.values())
        return max(starts) + max(bounds, default=0) + drain + stops + LOOKS

    def turns(self) -> float:
        """How long it takes when every other model has a whole turn before."""
        specs = [runner.spec for runner in self.runners.values()]
        start, stop = max(spec.start for spec in specs), sum(spec.stop for spec in specs)
        bound = clamp(3 * max(spec.cost for spec in specs), 60, 1200)
        # 120: somebody short may start while room is made.
        return len(specs) * (bound + max(spec.drain for spec in specs) + stop + start + 120 + LOOKS)

    def alone(self, ticket: Ticket) -> bool:
        """Whether nothing else is going on that it has to wait for."""
        others = [other for other in self.tickets() if other.model != ticket.model]
        starting = any(lease.state is LeaseState.STARTING for lease in self.leases())
        return not others and not starting and self.settings.pause is None

    def check_utilities(self) -> None:
        """A utility is back 30 s after the exclusive model is gone."""
        returning = [ticket for ticket in self.tickets() if ticket.returning]
        everybody: list[Lease | Ticket] = [*self.leases(), *self.tickets()]
        exclusive = any(one.lifecycle is Lifecycle.EXCLUSIVE for one in everybody)
        going = any(lease.state in GOING for lease in self.leases())
        blocked = going or self.foreign or self.settings.pause is not None
        if not returning or exclusive or blocked:
            self.exclusive_gone = None
        elif self.exclusive_gone is None:
            self.exclusive_gone = self.now
        else:
            assert self.now - self.exclusive_gone <= 30, returning

    # Before each step.

    def before_step(self, runner: Runner, decided: Plan) -> None:
        self.check_order_of_looking(decided)
        name = runner.spec.name
        step = decided.waiters.get(name)
        if runner.ticket is not None:
            if isinstance(step, Take):
                self.judged.takes += 1
                assert runner.ticket.abandoned_at is None
                self.check_turn(runner.ticket, decided)
            elif isinstance(step, Refuse):
                self.judged.refusals.append(step.why)
                self.check_refused(runner.ticket, step)
            elif isinstance(step, Leave):
                gone = runner.ticket.abandoned_at
                assert gone is not None
                assert self.now - gone >= 120
            else:
                self.check_waits(runner.ticket)
        if runner.lease is not None and runner.lease.state not in GOING:
            way = decided.holders[name]
            if isinstance(way, GiveWay):
                self.judged.ways.append(way.why)
                self.check_way(runner.lease, way)
                if way.why is not Reason.PAUSED:
                    self.check_choice(runner.lease, way, decided)

    def check_order_of_looking(self, decided: Plan) -> None:
        leases, tickets = self.leases(), self.tickets()
        self.dice.shuffle(leases)
        self.dice.shuffle(tickets)
        assert self.decide(BUDGET, leases, tickets, self.settings, self.now) == decided

    def check_turn(self, ticket: Ticket, decided: Plan) -> None:
        """Nobody passes one that is ahead in any case, but by rule 3."""
        free = BUDGET - sum(size(lease) for lease in self.leases())
        assert size(ticket) <= free
        for other in self.tickets():
            ahead = other.since < ticket.since and other.priority >= ticket.priority
            leaves = isinstance(decided.waiters[other.model], Refuse | Leave)
            if not ahead or leaves or other.returning or ticket.returning:
                continue
            assert ticket.lifecycle is not Lifecycle.EXCLUSIVE
            starting = [one for one in self.leases() if one.state is LeaseState.STARTING]
            assert not starting
            first = [one for one in self.tickets() if one.since < other.since]
            is_head = all(one.returning for one in first)
            if other.abandoned_at is not None and self.beside(ticket, other):
                continue
            # Behind the head, one may pass that another, which costs more, may not.
            costs_less = (other.cost or 0) <= (ticket.cost or 0)
            if is_head or (costs_less and (other.start or 0) <= (ticket.start or 0)):
                fits = size(other) <= free and not self.own_lease(other)
                assert not fits or (not is_head and size(other) > size(ticket)), (ticket, other)
            if is_head:
                self.check_pass(ticket, other)

    def check_pass(self, ticket: Ticket, head: Ticket) -> None:
        """It is short and fits beside *head*, or it does not delay it."""
        holders = [lease for lease in self.leases() if lease.state not in GOING]
        bound = max((age_bound(head, lease) for lease in holders), default=0)
        left, start = head.since + bound - self.now, ticket.start or 0
        assert start < 120 or start <= left, (ticket, head)
        assert self.beside(ticket, head) or start <= left, (ticket, head)

    def beside(self, ticket: Ticket, other: Ticket) -> bool:
        """Whether *other* fits beside *ticket* when all go that may."""
        staying = [
            lease
            for lease in self.leases()
            if (lease.foreign or lease.pinned) and lease.state not in GOING
        ]
        return size(ticket) + size(other) + sum(map(size, staying)) <= BUDGET

    def own_lease(self, ticket: Ticket) -> bool:
        alone = ticket.lifecycle is Lifecycle.EXCLUSIVE and bool(self.leases())
        return alone or any(lease.model == ticket.model for lease in self.leases())

    def impossible(self, ticket: Ticket) -> bool:
        """Whether what holds the memory never goes for *ticket*."""
        exclusive = ticket.lifecycle is Lifecycle.EXCLUSIVE
        staying = sum(
            size(lease)
            for lease in self.leases()
            if lease.model != ticket.model
            and lease.state not in GOING
            and (lease.foreign or lease.pinned)
        )
        utilities = sum(
            size(lease)
            for lease in self.leases()
            if lease.lifecycle is Lifecycle.UTILITY and lease.model != ticket.model
            if lease.state not in GOING
        )
        if ticket.lifecycle is Lifecycle.NORMAL:
            utilities += sum(size(other) for other in self.tickets() if other.returning)
        need = size(ticket)
        return need + staying + (0 if exclusive else utilities) > BUDGET

    def check_refused(self, ticket: Ticket, step: Refuse) -> None:
        pause = self.settings.pause
        if step.why is Refusal.PAUSED:
            assert pause is not None
            assert step.until == pause.until
        elif step.why is Refusal.BUSY:
            assert self.settings.contention is Contention.REJECT
            assert step.holders
        else:
            assert self.impossible(ticket)
            assert step.holders
            ends = [lease.until for lease in self.foreign.values()]
            assert step.until is None or step.until in ends

    def check_waits(self, ticket: Ticket) -> None:
        if ticket.returning or ticket.abandoned_at is not None:
            return
        assert self.settings.pause is None
        assert not self.impossible(ticket), ticket
        if self.settings.contention is Contention.REJECT:
            busy = [
                size(lease)
                for lease in self.leases()
                if lease.state is LeaseState.STARTING
                or (lease.state is LeaseState.READY and lease.in_flight)
            ]
            assert sum(busy) + size(ticket) <= BUDGET, ticket

    def check_way(self, lease: Lease, way: GiveWay) -> None:
        assert not lease.foreign
        if way.why is Reason.PAUSED:
            assert self.settings.pause is not None
            return
        assert lease.state is LeaseState.READY
        assert not lease.pinned
        ticket = next(one for one in self.tickets() if one.model == way.to)
        utility = lease.lifecycle is Lifecycle.UTILITY
        exclusive = ticket.lifecycle is Lifecycle.EXCLUSIVE
        assert not utility or exclusive
        assert not ticket.returning
        assert ticket.abandoned_at is None
        # Only what does not fit, with what is coming, makes anybody go.
        coming = sum(size(one) for one in self.leases() if one.state in GOING)
        free = BUDGET - sum(size(one) for one in self.leases())
        assert exclusive or size(ticket) > free + coming
        cost = ((ticket.cost or 0) + (lease.cost or 0)) / 2
        age, served = self.now - ticket.since, self.now - (lease.ready_since or 0)
        idle = 0.0 if lease.idle_since is None else self.now - lease.idle_since
        held = lease.in_flight == 0 and (utility or idle >= clamp(cost / 4, 10, 180))
        if not held:
            bound = age_bound(ticket, lease)
            assert age >= bound
            assert served >= min(1.5 * cost, bound)
            assert not lease.held or served >= bound

    def check_choice(self, lease: Lease, way: GiveWay, decided: Plan) -> None:
        """Only as many as needed, and least recently used first."""
        ticket = next(one for one in self.tickets() if one.model == way.to)
        leases = self.leases()
        chosen = [one for one in leases if isinstance(decided.holders[one.model], GiveWay)]
        others = [one for one in leases if one in chosen or one.state in GOING]
        free = BUDGET - sum(size(one) for one in leases)
        with_it = free + sum(size(one) for one in others)
        assert with_it - size(lease) < size(ticket) <= with_it
        for other in leases:
            candidate = other.state is LeaseState.READY and not (other.foreign or other.pinned)
            if not candidate or other in chosen or other.lifecycle is Lifecycle.UTILITY:
                continue
            idle = other.in_flight == 0 and other.model != ticket.model
            if idle and size(other) >= size(lease):
                assert lease.in_flight == 0, (lease, other)
                assert (lease.idle_since or 0) <= (other.idle_since or 0), (lease, other)

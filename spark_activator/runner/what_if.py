"""What would happen if somebody asked for a model now: pure, like the plan that it asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from spark_activator.runner.plan import Lease, LeaseState, Refuse, Settings, Ticket, Wait, plan
from spark_activator.runner.plan_rules import choose_victims, idle_since
from spark_activator.runner.plan_scene import HOLD_COSTS, HOLD_LIMITS, Scene


class Answer(StrEnum):
    """What would come of it."""

    THERE = "there"  # it has its lease already
    FITS = "fits"  # it starts at once, beside what is there
    EVICTS = "evicts"  # it starts when others have gone for it
    WAITS = "waits"  # others come first, or what is in the way has not settled
    REFUSED = "refused"  # it is sent away


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would come of a request for one model.

    Attributes:
        model: The model.
        answer: In one word.
        beside: Who has a lease at the same time.
        evicts: Who would have to go, in the order in which they are chosen.
        busy: Those of them that have requests in flight.
        within: Seconds until they are asked to go at the latest, as long as
            nothing changes but that the busy stay busy; None where nobody has to.
        ahead: Who is before it in the queue, or in the way.
        refused: Why it is sent away, None where it is not.
        cold: Seconds from its lease until it is ready, None before there is a measure.
    """

    model: str
    answer: Answer
    beside: tuple[str, ...] = ()
    evicts: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    within: float | None = None
    ahead: tuple[str, ...] = ()
    refused: Refuse | None = None
    cold: float | None = None


def what_if(
    budget: int,
    leases: Sequence[Lease],
    tickets: Sequence[Ticket],
    settings: Settings,
    now: float,
    asked: Sequence[Ticket],
) -> list[Outlook]:
    """Say what would come of each of *asked*, one after the other.

    Each is asked for when all before it have what they would get, and are idle.
    The other arguments are those of `plan`.
    """
    outlooks = []
    held = list(leases)
    for ticket in asked:
        outlook = _one(Scene(budget, held, tickets, settings, now), ticket)
        outlooks.append(outlook)
        if outlook.answer in (Answer.FITS, Answer.EVICTS):
            held = [lease for lease in held if lease.model not in outlook.evicts]
            held.append(_lease(ticket, now))
    return outlooks


def _one(scene: Scene, ticket: Ticket) -> Outlook:
    outlook = Outlook(ticket.model, Answer.FITS, cold=ticket.start)
    others = tuple(sorted(lease.model for lease in scene.leases if lease.model != ticket.model))
    if len(others) < len(scene.leases):
        return replace(outlook, answer=Answer.THERE, beside=others)
    # One that waits already is asked for once more: what counts is its place.
    tickets = [one for one in scene.tickets if one.model != ticket.model]
    place = next((one for one in scene.tickets if one.model == ticket.model), ticket)
    steps = plan(scene.budget, scene.leases, [*tickets, place], scene.settings, scene.now)
    step = steps.waiters[ticket.model]
    if isinstance(step, Refuse):
        return replace(outlook, answer=Answer.REFUSED, refused=step)
    if not isinstance(step, Wait):
        return replace(outlook, beside=others)
    victims = choose_victims(scene, place)
    if step.position > 1 or not victims:
        return replace(outlook, answer=Answer.WAITS, ahead=step.ahead)
    gone = tuple(lease.model for lease in victims)
    return replace(
        outlook,
        answer=Answer.EVICTS,
        beside=tuple(name for name in others if name not in gone),
        evicts=gone,
        busy=tuple(lease.model for lease in victims if lease.in_flight),
        within=_within(scene, place, victims),
    )


def _within(scene: Scene, ticket: Ticket, victims: Sequence[Lease]) -> float:
    """Return seconds until all of *victims* may be asked to go (rules 4 and 5 of the plan)."""
    at_most = max(0.0, scene.age_bound(ticket, victims) - scene.age(ticket))
    if any(lease.in_flight for lease in victims):
        return at_most
    holds = (
        scene.span(HOLD_COSTS * scene.switch(ticket, lease), HOLD_LIMITS)
        - (scene.now - idle_since(lease))
        for lease in victims
    )
    return min(max(0.0, *holds, 0.0), at_most)


def _lease(ticket: Ticket, now: float) -> Lease:
    return Lease(
        ticket.model,
        ticket.memory,
        LeaseState.READY,
        since=now,
        lifecycle=ticket.lifecycle,
        priority=ticket.priority,
        cost=ticket.cost,
        ready_since=now,
        idle_since=now,
    )

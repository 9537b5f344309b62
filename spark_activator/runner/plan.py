"""Who runs, who waits and who must go: one pure function of what is known.

For now the GPU is one thing: a single lease at a time, tickets served in the
order in which they were drawn, an idle holder gives way at once and a busy one
keeps until it is idle.  A budget in bytes, priorities and age bounds widen
`plan`, not its callers: each runner carries out only the step that names its
own model, whatever led to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class LeaseState(StrEnum):
    """What the holder of a lease is doing; all but READY are sticky until it changes them."""

    STARTING = "starting"
    READY = "ready"
    YIELDING = "yielding"
    STOPPING = "stopping"
    RECLAIMING = "reclaiming"
    # The lock is held and its description is missing or unreadable: a holder
    # between two writes, or a reaper.  It is never asked to go.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to memory of one model whose lock is held.

    Attributes:
        model: The holder.
        memory: Bytes, None where unknown.
        state: What the holder said last.
        in_flight: Requests that it serves or holds; the holder's own is current.
        since: When the state began, in seconds of CLOCK_BOOTTIME.
        activation: Eight hex digits, or None.
        baseline: Bytes that were available before its engine was made, or None.
    """

    model: str
    memory: int | None = None
    state: LeaseState = LeaseState.UNKNOWN
    in_flight: int = 0
    since: float = 0.0
    activation: str | None = None
    baseline: int | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A model that waits; *since* is when it was first wanted (CLOCK_BOOTTIME)."""

    model: str
    memory: int | None = None
    since: float = 0.0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner decides about sharing; nothing yet, the lease is for the whole GPU."""


@dataclass(frozen=True, slots=True)
class Take:
    """The waiter takes its lease now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The waiter waits: *position* 1 is next, *ahead* names earlier waiters, the holder last."""

    position: int
    ahead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """The holder keeps what it has."""


@dataclass(frozen=True, slots=True)
class GiveWay:
    """The holder drains and goes, because *to* waits."""

    to: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One step for each model that waits and one for each that holds.

    A model can be in both: its last engine goes away while new clients wait.
    """

    waiters: Mapping[str, Take | Wait]
    holders: Mapping[str, Keep | GiveWay]


def plan(
    leases: Sequence[Lease], tickets: Sequence[Ticket], settings: Settings, now: float
) -> Plan:
    """Decide the next step of everyone.

    Args:
        leases: Every lease whose lock is held.
        tickets: Every ticket whose lock is held.
        settings: The owner's.
        now: Seconds of CLOCK_BOOTTIME.

    Returns:
        The same for the same arguments in any order, so that every runner that
        looks at the same moment comes to the same plan.
    """
    del settings, now  # nothing depends on them while the GPU is one thing
    queue = sorted(tickets, key=lambda ticket: (ticket.since, ticket.model))
    holders = sorted(lease.model for lease in leases)
    waiters: dict[str, Take | Wait] = {}
    for place, ticket in enumerate(queue, start=1):
        if place == 1 and not holders:
            waiters[ticket.model] = Take()
        else:
            before = tuple(other.model for other in queue[: place - 1])
            waiters[ticket.model] = Wait(place, (*before, *holders))
    return Plan(waiters, {lease.model: _holder_step(lease, queue) for lease in leases})


def _holder_step(lease: Lease, queue: Sequence[Ticket]) -> Keep | GiveWay:
    others = [ticket.model for ticket in queue if ticket.model != lease.model]
    if others and lease.state is LeaseState.READY and lease.in_flight == 0:
        return GiveWay(others[0])
    return Keep()

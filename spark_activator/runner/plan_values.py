"""What the plan is made from, and what it says: leases, tickets, settings, steps.

The files in the shared directory carry exactly the fields of `Lease` and
`Ticket`.  Every stamp is in seconds of CLOCK_BOOTTIME, every duration in
seconds, every size in bytes.  A field that a file lacks has its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from spark_activator.catalog.host import Contention
from spark_activator.catalog.model import Lifecycle

__all__ = ["Contention"]


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


# Their memory is coming: nobody else has to go for the same need.
GOING = frozenset({LeaseState.YIELDING, LeaseState.STOPPING, LeaseState.RECLAIMING})


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to memory of one model, or of a foreign program, whose lock is held.

    Attributes:
        model: The holder.
        memory: Bytes, None where unknown: then it counts as all there is.
        state: What the holder said last.
        in_flight: Requests that it serves or holds; the holder's own is current.
        since: When the state began.
        activation: Eight hex digits, or None.
        baseline: Bytes that were available before its engine was made, None
            until the engine initialises.
        lifecycle: An exclusive one counts as all there is.
        priority: Of the model; among busy holders the lowest goes first.
        pinned: Never asked to go (`keep: always` of a model that is no utility).
        foreign: Not a model of ours (`lease run`, `lease hold`); never asked to go.
        until: When a foreign one ends, None where unknown.
        cost: Seconds that its start and its stop took, as measured; None before
            there is a measure.
        ready_since: When it became ready, None before.
        idle_since: When its last request ended, None while one is in flight.
        held: Requests that were held when it became ready and are still in flight.
    """

    model: str
    memory: int | None = None
    state: LeaseState = LeaseState.UNKNOWN
    in_flight: int = 0
    since: float = 0.0
    activation: str | None = None
    baseline: int | None = None
    lifecycle: Lifecycle = Lifecycle.NORMAL
    priority: int = 0
    pinned: bool = False
    foreign: bool = False
    until: float | None = None
    cost: float | None = None
    ready_since: float | None = None
    idle_since: float | None = None
    held: int = 0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A model, or a foreign program, that waits.

    Attributes:
        model: Who waits.
        memory: Bytes, None where unknown: then all there is.
        since: When it was first wanted; kept when clients give up and come back.
        priority: Higher goes first among those that have not waited long.
        lifecycle: An exclusive one needs all there is, and everybody gone.
        cost: As in `Lease`.
        start: Seconds from lease to ready, as measured; None before there is a measure.
        abandoned_at: When its last client left, None while there is one.
        returning: Nobody asks: a utility that comes back after an exclusive model.
    """

    model: str
    memory: int | None = None
    since: float = 0.0
    priority: int = 0
    lifecycle: Lifecycle = Lifecycle.NORMAL
    cost: float | None = None
    start: float | None = None
    abandoned_at: float | None = None
    returning: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """The owner wants the GPU: nobody gets it, and who has it goes; *until* None: open."""

    until: float | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner decides about sharing.

    Attributes:
        contention: See `Contention`.
        pause: In force until its end, None where there is none.
        pace: Every time of the rules is multiplied by it; 1 but in tests, which
            make an hour of a machine's life pass in a minute.
    """

    contention: Contention = Contention.WAIT
    pause: Pause | None = None
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class Take:
    """The waiter takes its lease now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The waiter waits.

    Attributes:
        position: 1 is next.
        ahead: Earlier waiters, then the holders that are in the way.
        due: When busy holders stop admitting for it at the latest, unless one
            has only just become ready; None where nobody has to go, or others are first.
    """

    position: int
    ahead: tuple[str, ...]
    due: float | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """The waiter leaves the queue: its last client has been away for too long."""


class Refusal(StrEnum):
    """Why a waiter is sent away."""

    TOO_BIG = "too_big"  # it needs more than there is
    HELD = "held"  # what holds the memory does not go for it
    PAUSED = "paused"  # the owner has the GPU
    BUSY = "busy"  # `contention: reject`, and somebody busy would have to go


@dataclass(frozen=True, slots=True)
class Refuse:
    """The waiter is sent away: *holders* are in its way, until *until* where that is known."""

    why: Refusal
    holders: tuple[str, ...] = ()
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """The holder keeps what it has, and admits."""


class Reason(StrEnum):
    """Why a holder has to go."""

    IDLE = "idle"  # it was not used for its turn hold
    AGED = "aged"  # it was, and the waiter has waited long enough
    PAUSED = "paused"  # the owner wants the GPU


@dataclass(frozen=True, slots=True)
class GiveWay:
    """The holder stops admitting, drains and goes, because *to* waits; *why* it is its turn."""

    to: str
    why: Reason = Reason.IDLE


WaiterStep = Take | Wait | Leave | Refuse
HolderStep = Keep | GiveWay


@dataclass(frozen=True, slots=True)
class Plan:
    """One step for each model that waits and one for each that holds.

    A model can be in both: its last engine goes away while new clients wait.
    """

    waiters: Mapping[str, WaiterStep]
    holders: Mapping[str, HolderStep]

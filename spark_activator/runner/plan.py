"""Who runs, who waits and who must go: one pure function of what is known.

Its rules, with C the cost of a switch and A = clamp(3·C, 60 s, 20 min):

1.  Leased memory never exceeds the budget; an exclusive model needs all of it.
2.  Models that fit together stay together: only a waiter's need makes one go.
3.  Tickets are served in order of age; a higher priority goes before those
    that have not waited long.  A later one passes where it fits beside all
    that runs and starts quickly, or does not delay the first.
4.  An idle holder goes after its turn hold, clamp(C/4, 10 s, 3 min); least
    recently used first, and only as many as needed.  A utility goes for an
    exclusive model alone, and comes back when that is gone.
5.  A busy holder keeps serving and admitting until the waiter's age is A.
6.  One that has just become ready stays until those who were held then are
    served, at most A; and as long as it is busy it serves for 1.5·C, at most A.
7.  A ticket keeps its place for 2 min after its last client left; meanwhile
    nothing is started and nobody goes for it.
8.  What a foreign lease, a pinned model or a pause holds is not waited for.
9.  With `contention: reject` nobody waits for a busy holder.

Each runner carries out only the step that names its own model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan_rules import (
    choose_victims,
    contention,
    fits,
    in_order,
    may_go,
    may_pass,
    refusal,
)
from spark_activator.runner.plan_scene import ABANDONED, Scene
from spark_activator.runner.plan_values import (
    GOING,
    Contention,
    GiveWay,
    HolderStep,
    Keep,
    Lease,
    LeaseState,
    Leave,
    Pause,
    Plan,
    Reason,
    Refusal,
    Refuse,
    Settings,
    Take,
    Ticket,
    Wait,
    WaiterStep,
)

__all__ = [
    "Contention", "GiveWay", "Keep", "Lease", "LeaseState", "Leave", "Pause", "Plan", "Reason",
    "Refusal", "Refuse", "Settings", "Take", "Ticket", "Wait", "plan",
]  # fmt: skip

# Whom a pause is named by, among the holders.
PAUSE = "pause"


def plan(
    budget: int,
    leases: Sequence[Lease],
    tickets: Sequence[Ticket],
    settings: Settings,
    now: float,
) -> Plan:
    """Decide the next step of everyone.

    Args:
        budget: Bytes that all leases may take together.
        leases: Every lease whose lock is held, at most one a model.
        tickets: Every ticket whose lock is held, at most one a model.
        settings: The owner's.
        now: Seconds of CLOCK_BOOTTIME.

    Returns:
        The same for the same arguments in any order, so that every runner that
        looks at the same moment comes to the same plan.  At most one waiter
        takes in one plan: the next one looks again when that engine begins to
        initialise, and so they initialise in the order of the queue.
    """
    leases = sorted(leases, key=lambda lease: lease.model)
    tickets = sorted(tickets, key=lambda ticket: ticket.model)
    scene = Scene(budget, leases, tickets, settings, now)
    pause = settings.pause
    if pause is not None and (pause.until is None or now < pause.until):
        return _paused(scene, pause)
    steps, queue = _admit(scene)
    scene = replace(scene, tickets=queue)
    head = _head(scene)
    victims = None if head is None else choose_victims(scene, head)
    holders = _holders(scene, head, victims)
    taker = None
    if not any(isinstance(step, GiveWay) for step in holders.values()):
        taker = _taker(scene, head, victims)
    return Plan(steps | _waits(scene, taker, head, victims), holders)


def _paused(scene: Scene, pause: Pause) -> Plan:
    waiters: dict[str, WaiterStep] = {}
    for ticket in scene.tickets:
        refused = Refuse(Refusal.PAUSED, (PAUSE,), pause.until)
        waiters[ticket.model] = Wait(1, (PAUSE,)) if ticket.returning else refused
    holders: dict[str, HolderStep] = {}
    for lease in scene.leases:
        # Loads end too: the owner waits, and nobody would be served afterwards.
        stoppable = lease.state in (LeaseState.READY, LeaseState.STARTING) and not lease.foreign
        holders[lease.model] = GiveWay(PAUSE, Reason.PAUSED) if stoppable else Keep()
    return Plan(waiters, holders)


def _admit(scene: Scene) -> tuple[dict[str, WaiterStep], list[Ticket]]:
    """Send away those who need not wait; return their steps, and the others in order."""
    steps: dict[str, WaiterStep] = {}
    queue: list[Ticket] = []
    limit = ABANDONED * scene.settings.pace
    for ticket in in_order(scene):
        gone = ticket.abandoned_at
        refused = refusal(scene, ticket) or contention(scene, ticket, queue)
        if gone is not None and scene.now - gone >= limit:
            steps[ticket.model] = Leave()
        elif refused is not None and not ticket.returning:
            steps[ticket.model] = refused
        else:
            queue.append(ticket)
    return steps, queue


def _head(scene: Scene) -> Ticket | None:
    """Return the first that waits on somebody's behalf."""
    return next((ticket for ticket in scene.tickets if not ticket.returning), None)


def _taker(scene: Scene, head: Ticket | None, victims: list[Lease] | None) -> Ticket | None:
    """Return the one whose turn it is, where what it needs is there."""
    for lease in scene.leases:
        if lease.state is LeaseState.STARTING and lease.baseline is None:
            return None  # it is about to initialise, and comes first
    exclusive = head is not None and head.lifecycle is Lifecycle.EXCLUSIVE
    for ticket in scene.tickets:
        if ticket.returning:
            # It would only have to go again for the exclusive one.
            if not exclusive and fits(scene, ticket):
                return ticket
        elif ticket.abandoned_at is not None:
            continue  # nobody waits for it
        elif head is None or ticket == head:
            if fits(scene, ticket):
                return ticket
        elif may_pass(scene, ticket, head, victims):
            return ticket
    return None


def _holders(
    scene: Scene, head: Ticket | None, victims: list[Lease] | None
) -> dict[str, HolderStep]:
    """Ask *victims* to go for *head* where all of them may: else none would be of use."""
    steps: dict[str, HolderStep] = {lease.model: Keep() for lease in scene.leases}
    # What an engine measures while it initialises must not change under it.
    if head is None or not victims or scene.is_in(LeaseState.STARTING):
        return steps
    bound = scene.age_bound(head, victims)
    if head.abandoned_at is None and all(may_go(scene, one, head, bound) for one in victims):
        why = Reason.AGED if scene.age(head) >= bound else Reason.IDLE
        steps |= {lease.model: GiveWay(head.model, why) for lease in victims}
    return steps


def _waits(
    scene: Scene, taker: Ticket | None, head: Ticket | None, victims: list[Lease] | None
) -> dict[str, WaiterStep]:
    steps: dict[str, WaiterStep] = {}
    before: tuple[str, ...] = ()
    in_the_way = victims or [lease for lease in scene.leases if lease.state in GOING]
    holders = tuple(lease.model for lease in in_the_way or scene.leases)
    for ticket in scene.tickets:
        if ticket == taker:
            steps[ticket.model] = Take()
            continue
        due = None
        if ticket == head and victims:
            due = ticket.since + scene.age_bound(ticket, victims)
        steps[ticket.model] = Wait(len(before) + 1, (*before, *holders), due)
        before = (*before, ticket.model)
    return steps

"""The parts of the plan that concern one waiter: room, who has to go, refusals."""

from __future__ import annotations

from collections.abc import Sequence

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan_scene import (
    ASSUMED_COST,
    HOLD_COSTS,
    HOLD_LIMITS,
    SERVE_COSTS,
    SHORT_START,
    Scene,
)
from spark_activator.runner.plan_values import (
    GOING,
    Contention,
    Lease,
    LeaseState,
    Refusal,
    Refuse,
    Ticket,
)


def in_order(scene: Scene) -> list[Ticket]:
    """Return the queue: those that come back, then by age, priority before the young."""
    order: list[Ticket] = []
    for ticket in sorted(scene.tickets, key=lambda ticket: (ticket.since, ticket.model)):
        place = len(order)
        while place and _lets_pass(scene, order[place - 1], ticket):
            place -= 1
        order.insert(place, ticket)
    return sorted(order, key=lambda ticket: not ticket.returning)


def _lets_pass(scene: Scene, older: Ticket, ticket: Ticket) -> bool:
    return older.priority < ticket.priority and not scene.is_old(older)


def stays(scene: Scene, ticket: Ticket) -> list[Lease]:
    """Return the leases that never go for *ticket*."""
    exclusive = ticket.lifecycle is Lifecycle.EXCLUSIVE
    return [
        lease
        for lease in scene.leases
        if lease.model != ticket.model
        and lease.state not in GOING
        and (
            lease.foreign
            or lease.pinned
            or (lease.lifecycle is Lifecycle.UTILITY and not exclusive)
        )
    ]


def fits(scene: Scene, ticket: Ticket) -> bool:
    """Say whether there is room for *ticket* now."""
    if ticket.lifecycle is Lifecycle.EXCLUSIVE:
        return not scene.leases and (ticket.memory or 0) <= scene.budget
    for lease in scene.leases:
        if lease.model == ticket.model or lease.lifecycle is Lifecycle.EXCLUSIVE:
            return False
    return scene.size(ticket) <= scene.free


def choose_victims(scene: Scene, ticket: Ticket) -> list[Lease] | None:
    """Choose who has to go for *ticket*: as few as needed, least recently used first.

    Returns:
        Those that are not yet on their way; None where even all are not enough,
        because somebody starts.
    """
    staying = {lease.model for lease in stays(scene, ticket)}
    candidates = [
        lease
        for lease in scene.leases
        if lease.state is LeaseState.READY and lease.model not in {ticket.model, *staying}
    ]
    candidates.sort(key=_reluctance)
    if ticket.lifecycle is Lifecycle.EXCLUSIVE:
        settled = len(candidates) + sum(lease.state in GOING for lease in scene.leases)
        return candidates if settled == len(scene.leases) else None
    missing = scene.size(ticket) - scene.free - scene.coming
    chosen: list[Lease] = []
    for lease in candidates:
        if scene.total(chosen) >= missing:
            break
        chosen.append(lease)
    if scene.total(chosen) < missing:
        return None
    for lease in reversed(chosen.copy()):
        if scene.total(chosen) - scene.size(lease) >= missing:
            chosen.remove(lease)
    return chosen


def _reluctance(lease: Lease) -> tuple[bool, bool, int, float, str]:
    if lease.in_flight == 0:
        return (False, False, 0, idle_since(lease), lease.model)
    return (True, lease.held > 0, lease.priority, lease.ready_since or 0.0, lease.model)


def idle_since(lease: Lease) -> float:
    """Return when *lease*, which has nothing in flight, was used last."""
    return lease.since if lease.idle_since is None else lease.idle_since


def may_go(scene: Scene, lease: Lease, ticket: Ticket, bound: float) -> bool:
    """Say whether *lease* may be asked to go for *ticket*, whose A is *bound*."""
    if lease.in_flight == 0:
        hold = scene.span(HOLD_COSTS * scene.switch(ticket, lease), HOLD_LIMITS)
        utility = lease.lifecycle is Lifecycle.UTILITY
        if utility or scene.now - idle_since(lease) >= hold:
            return True
    # It serves for a time, or the GPU would do little but switch; and all for
    # whom it was brought up.  The pauses of an agent count as service.
    served = scene.now - (lease.since if lease.ready_since is None else lease.ready_since)
    stay = bound if lease.held else min(bound, SERVE_COSTS * scene.switch(ticket, lease))
    return scene.age(ticket) >= bound and served >= stay


def may_pass(scene: Scene, ticket: Ticket, head: Ticket, victims: list[Lease] | None) -> bool:
    """Say whether *ticket* may take what is free while *head* goes on waiting for more."""
    # One starts at a time, and what goes must not be measured by what starts.
    busy = (LeaseState.STARTING, LeaseState.STOPPING, LeaseState.RECLAIMING)
    if victims is None or scene.is_in(*busy) or not fits(scene, ticket):
        return False
    if Lifecycle.EXCLUSIVE in (ticket.lifecycle, head.lifecycle):
        room = False
    else:
        spare = scene.free + scene.coming + scene.total(victims) - scene.size(head)
        room = scene.size(ticket) <= spare
    if room and head.abandoned_at is not None:
        return True  # its place is kept, and nobody waits in it
    pace = scene.settings.pace
    start = ASSUMED_COST * pace if ticket.start is None else ticket.start
    # Nobody has to go for it any more: its turn is as soon as they are gone.
    left = head.since + scene.age_bound(head, victims) - scene.now if victims else 0.0
    if start >= SHORT_START * pace:
        return room and start <= left
    # Without room for both it has to be up, and to have served, before the head's turn.
    return room or start + scene.age_bound(head, [ticket]) <= left


def refusal(scene: Scene, ticket: Ticket) -> Refuse | None:
    """Say why waiting is of no use to *ticket*, None where it is."""
    need = scene.size(ticket)
    if ticket.memory is not None and ticket.memory > scene.budget:
        return Refuse(Refusal.TOO_BIG)
    staying = stays(scene, ticket)
    sizes = {lease.model: scene.size(lease) for lease in staying}
    if ticket.lifecycle is Lifecycle.NORMAL:
        # Utilities that come back have their place although they are not there.
        away = (other for other in scene.tickets if other.returning)
        sizes |= {other.model: scene.size(other) for other in away}
    if not sizes or need + sum(sizes.values()) <= scene.budget:
        return None
    holders = tuple(sorted(sizes))
    ends = [(lease.until, lease.model) for lease in staying if lease.until is not None]
    for until, model in sorted(ends):
        del sizes[model]
        if until > scene.now and need + sum(sizes.values()) <= scene.budget:
            return Refuse(Refusal.HELD, holders, until)
    return Refuse(Refusal.HELD, holders)


def contention(scene: Scene, ticket: Ticket, ahead: Sequence[Ticket]) -> Refuse | None:
    """Say who busy would have to go for *ticket*, where the owner does not want that."""
    if scene.settings.contention is Contention.WAIT or ticket.returning:
        return None
    staying = {lease.model for lease in stays(scene, ticket)}
    busy = [lease for lease in scene.leases if _is_busy(lease) or lease.model in staying]
    needs = scene.total(busy) + sum(scene.size(one) for one in (ticket, *ahead))
    if needs <= scene.budget:
        return None
    names = {lease.model for lease in busy} | {other.model for other in ahead}
    return Refuse(Refusal.BUSY, tuple(sorted(names)))


def _is_busy(lease: Lease) -> bool:
    if lease.state is LeaseState.STARTING:
        return True
    return lease.state is LeaseState.READY and lease.in_flight > 0

"""What our plan is compared with: strict order, and never leaving a busy model.

Both know the budget, as ours does; neither holds a turn, bounds an age, protects
or lets anybody pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from spark_activator.runner.plan import (
    GiveWay,
    Keep,
    Lease,
    LeaseState,
    Plan,
    Settings,
    Take,
    Ticket,
    Wait,
    plan,
)
from spark_activator.runner.plan_rules import choose_victims, fits
from spark_activator.runner.plan_scene import Scene


def strict(
    budget: int, leases: Sequence[Lease], tickets: Sequence[Ticket], settings: Settings, now: float
) -> Plan:
    """Serve in order of arrival: whoever is busy stops admitting as soon as another waits."""
    return _plain(Scene(budget, leases, tickets, settings, now), busy_goes=True)


def patient(
    budget: int, leases: Sequence[Lease], tickets: Sequence[Ticket], settings: Settings, now: float
) -> Plan:
    """Never leave a busy model; leave an idle one at once."""
    return _plain(Scene(budget, leases, tickets, settings, now), busy_goes=False)


def _plain(scene: Scene, *, busy_goes: bool) -> Plan:
    waiters: dict[str, Take | Wait] = {ticket.model: Wait(1, ()) for ticket in scene.tickets}
    holders: dict[str, Keep | GiveWay] = {lease.model: Keep() for lease in scene.leases}
    if scene.tickets and not scene.is_in(LeaseState.STARTING):
        head = min(scene.tickets, key=lambda ticket: (ticket.since, ticket.model))
        victims = choose_victims(scene, head) or []
        if fits(scene, head):
            waiters[head.model] = Take()
        elif busy_goes or all(lease.in_flight == 0 for lease in victims):
            holders |= {lease.model: GiveWay(head.model) for lease in victims}
    return Plan(waiters, holders)


POLICIES = {"ours": plan, "strict order": strict, "never leave busy": patient}

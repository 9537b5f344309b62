"""What the plan is about, and the times and sizes that its rules speak of.

C is the cost of a switch: half of what it takes to swap two models and to swap
them back, so that it is the same in both directions.  With models that cost
the same it is what one of them costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan_values import GOING, Lease, LeaseState, Settings, Ticket

# A Spark's models cost 5 to 15 minutes; the first measure replaces this.
ASSUMED_COST = 300.0
# A busy model keeps the others waiting for this many switches.  At 1, and with
# strict order, the GPU does little but switch; without a bound the rare starve.
AGE_COSTS = 3.0
# Below a minute nobody notices the wait but everybody the swaps; 20 minutes
# are four times what clients wait before they ask again.
AGE_LIMITS = (60.0, 20 * 60.0)
# A busy model serves for this many switches before it goes: with it switching
# takes at most two fifths of the time, however many wait.
SERVE_COSTS = 1.5
# Agents pause between two calls: seconds mostly, four in ten up to 90 s.
HOLD_COSTS = 0.25
HOLD_LIMITS = (10.0, 3 * 60.0)
# Clients give up after 5 minutes and ask again within one or two.
ABANDONED = 2 * 60.0
# Who is ahead loses no more than this to one that passes and starts first.
SHORT_START = 2 * 60.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What the plan is about, in an order that does not depend on who looks."""

    budget: int
    leases: Sequence[Lease]
    tickets: Sequence[Ticket]
    settings: Settings
    now: float

    @property
    def free(self) -> int:
        """Bytes of the budget that nobody has; below 0 where it was made smaller."""
        return self.budget - self.total(self.leases)

    @property
    def coming(self) -> int:
        """Bytes of those that are on their way out."""
        return self.total(lease for lease in self.leases if lease.state in GOING)

    def size(self, one: Lease | Ticket) -> int:
        """Return the bytes that *one* has, or needs."""
        if one.memory is None or one.lifecycle is Lifecycle.EXCLUSIVE:
            return self.budget
        return one.memory

    def total(self, ones: Iterable[Lease]) -> int:
        """Return the bytes that all of *ones* have."""
        return sum(self.size(one) for one in ones)

    def is_in(self, *states: LeaseState) -> bool:
        """Say whether any holder is in one of *states*."""
        return any(lease.state in states for lease in self.leases)

    def span(self, seconds: float, limits: tuple[float, float]) -> float:
        """Return *seconds* within *limits*, which pass at the pace of the settings."""
        low, high = limits
        pace = self.settings.pace
        return min(max(seconds, low * pace), high * pace)

    def cost(self, one: Lease | Ticket) -> float:
        """Return what bringing *one* up and down costs, in seconds."""
        return ASSUMED_COST * self.settings.pace if one.cost is None else one.cost

    def switch(self, one: Lease | Ticket, other: Lease | Ticket) -> float:
        """Return C of the two."""
        return (self.cost(one) + self.cost(other)) / 2

    def age(self, ticket: Ticket) -> float:
        """Return how long *ticket* has waited."""
        return self.now - ticket.since

    def age_bound(self, ticket: Ticket, victims: Iterable[Lease | Ticket]) -> float:
        """Return A: from this age of *ticket* on, *victims* go although they are busy."""
        cost = max((self.switch(ticket, one) for one in victims), default=self.cost(ticket))
        return self.span(AGE_COSTS * cost, AGE_LIMITS)

    def is_old(self, ticket: Ticket) -> bool:
        """Say whether *ticket* has waited so long that priority no longer counts.

        That is before anybody busy goes for it, whatever that one cost, so
        that nobody else gets what was drained for it.
        """
        return self.age(ticket) >= self.span(AGE_COSTS * self.cost(ticket) / 2, AGE_LIMITS)

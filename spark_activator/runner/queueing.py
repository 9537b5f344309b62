"""The wait for the lease: a ticket, its place, and the turn."""

from __future__ import annotations

from collections.abc import Callable

from spark_activator.catalog.model import Keep, Lifecycle, Model
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.protocol import Queued
from spark_activator.runner import history
from spark_activator.runner.board import Board
from spark_activator.runner.demand import Demand
from spark_activator.runner.ending import Ending, Why
from spark_activator.runner.gpu_files import boottime
from spark_activator.runner.lease import Ledger
from spark_activator.runner.plan import (
    Lease,
    LeaseState,
    Leave,
    Plan,
    Refuse,
    Take,
    Ticket,
    Wait,
)
from spark_activator.runner.plan_values import WaiterStep
from spark_activator.runner.refusals import refused, shown
from spark_activator.runner.watch import DirectoryWatch


def ticket_of(
    layout: Layout, model: Model, config: str, since: float, *, returning: bool = False
) -> Ticket:
    """Return the ticket of *model*, which has waited since *since*, with what history tells."""
    past = history.read_last(layout.history(model.name))
    return Ticket(
        model.name,
        model.memory,
        since,
        model.priority,
        model.lifecycle,
        history.typical_cost(past, config),
        history.typical_start(past, config),
        returning=returning,
    )


def lease_of(model: Model, ticket: Ticket, in_flight: int) -> Lease:
    """Return the lease that *ticket* turns into."""
    return Lease(
        model.name,
        model.memory,
        LeaseState.STARTING,
        in_flight,
        boottime(),
        lifecycle=model.lifecycle,
        priority=model.priority,
        pinned=model.keep is Keep.ALWAYS and model.lifecycle is not Lifecycle.UTILITY,
        cost=ticket.cost,
    )


class Queue:
    """One model's wait for its lease.

    Args:
        ticket: Its place; one that is held already is kept.
    """

    def __init__(
        self, model: Model, ticket: Ticket, ledger: Ledger, demand: Demand, board: Board
    ) -> None:
        self._model = model
        self._ticket = ticket
        self._ledger = ledger
        self._demand = demand
        self._board = board

    async def wait(self, ending: Ending) -> None:
        """Wait until the lease is ours or *ending* is told; the ledger knows which.

        Raises:
            EngineFailed: The directory of leases cannot be used.
        """
        await self._ledger.draw_ticket(self._ticket)
        watch = DirectoryWatch(self._ledger.directory)

        async def wait_turn() -> None:
            while not self._ledger.lease_lock.held:
                step = await self._ledger.next_step(self._own_step, self._describe)
                if not self._carry_out(step, ending.tell):
                    await watch.wait()

        async def watch_demand() -> None:
            # Whoever comes or leaves is a reason to look, and to say so to others.
            while True:
                await self._demand.wait_change()
                ticket = self._ledger.ticket
                waits = ticket.abandoned_at is None and not ticket.returning
                if self._demand.awaited is not waits:
                    await self._ledger.next_step(lambda plan: None, self._describe)

        try:
            await ending.run(wait_turn, watch_demand)
        finally:
            watch.close()

    def _describe(self) -> None:
        """Say on the ticket whether anybody waits behind it; its place and age stay."""
        ticket = self._ledger.ticket
        if self._demand.awaited:
            since = self._demand.since if ticket.returning else None
            self._ledger.change_ticket(since=since)
        elif not ticket.returning and ticket.abandoned_at is None:
            self._ledger.change_ticket(abandoned_at=boottime())

    def _own_step(self, plan: Plan) -> WaiterStep:
        step = plan.waiters.get(self._model.name, Wait(1, ()))
        if isinstance(step, Take):
            lease = lease_of(self._model, self._ledger.ticket, self._demand.in_flight)
            return step if self._ledger.take_lease(lease) else Wait(1, ())
        return step

    def _carry_out(self, step: WaiterStep, tell: Callable[[Why], None]) -> bool:
        """Do what the plan says; True when there is nothing left to wait for."""
        match step:
            case Take():
                return True
            case Leave():
                tell(Why.NOBODY)
            case Refuse():
                raise self._refused(step)
            case Wait():
                names = tuple(shown(name) for name in step.ahead)
                place = f"position {step.position}"
                words = f"{place}, behind {', '.join(names)}" if names else "its turn"
                self._board.show_queued(self._queued(step, names), words)
        return False

    def _queued(self, step: Wait, names: tuple[str, ...]) -> Queued:
        """Say *step* to clients, with what is known of who is in the way."""
        first = step.position - 1  # those before are waiters
        lease = self._ledger.seen.get(step.ahead[first]) if first < len(step.ahead) else None
        if lease is None:
            return Queued(step.position, names)
        return Queued(
            step.position,
            names,
            holder=names[first],
            since=lease.ready_since,
            idle_since=lease.idle_since,
            due=step.due,
        )

    def _refused(self, step: Refuse) -> EngineFailed:
        terms = self._ledger.terms
        assert terms is not None  # a plan was made
        return refused(self._ledger.ticket, step, budget=terms.budget, now=boottime())

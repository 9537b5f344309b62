"""The wait for the lease: a ticket, its place, and the turn."""

from __future__ import annotations

from spark_activator.catalog.model import Model
from spark_activator.runner.board import Board
from spark_activator.runner.demand import Demand
from spark_activator.runner.ending import Ending, Why
from spark_activator.runner.lease import Ledger
from spark_activator.runner.plan import Plan, Take, Wait
from spark_activator.runner.watch import DirectoryWatch
from spark_activator.state import Phase


async def wait_for_lease(
    model: Model, ledger: Ledger, demand: Demand, board: Board, ending: Ending
) -> None:
    """Wait until the lease of *model* is ours or *ending* is told; the ledger knows which.

    Raises:
        EngineFailed: The directory of leases cannot be used.
    """
    await ledger.draw_ticket(model, demand.since)
    watch = DirectoryWatch(ledger.directory)

    def own_step(plan: Plan) -> Wait | None:
        step = plan.waiters.get(model.name)
        if isinstance(step, Take) and ledger.take_lease(model):
            return None
        return step if isinstance(step, Wait) else Wait(1, ())

    async def wait_turn() -> None:
        while (step := await ledger.next_step(own_step)) is not None:
            ahead = ", ".join(step.ahead)
            words = f"position {step.position}, behind {ahead}" if ahead else "its turn"
            board.show(Phase.QUEUED, words, position=step.position, ahead=step.ahead)
            await watch.wait()

    async def watch_demand() -> None:
        await demand.wait_unwanted()
        ending.tell(Why.NOBODY)

    try:
        await ending.run(wait_turn, watch_demand)
    finally:
        watch.close()

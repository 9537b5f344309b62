"""One activation: from the lease to the moment when nothing of the engine is left.

    lease ─ way up ─ serve ─ way down ─ freed

The lease is freed in exactly one place, after the engine is known to be gone.
Anything unexpected on the way leaves both as they are and ends the process:
systemd keeps the lease, and the next process adopts the engine.
"""

from __future__ import annotations

import logging

import trio

from spark_activator.errors import EngineFailed
from spark_activator.runner import memory
from spark_activator.runner.course import Course
from spark_activator.runner.ending import Why
from spark_activator.runner.gpu_files import boottime
from spark_activator.runner.guard import watch_load
from spark_activator.runner.init_lock import INIT_POLL
from spark_activator.runner.plan import GiveWay, LeaseState, Plan, Reason
from spark_activator.runner.refusals import shown
from spark_activator.runner.watch import DirectoryWatch
from spark_activator.runner.way_down import dismiss, reclaim, record, remove_engine, wait_for_quiet
from spark_activator.runner.way_up import bring_up

# Whether a start makes progress is looked at this often.
STALL_POLL = 5.0
# Less CPU than this between two looks is an idle process' housekeeping.
STALL_EFFORT = 0.5
# A directory of leases that cannot be read is a person's to mend.
BROKEN_PAUSE = 10.0

logger = logging.getLogger(__name__)


class Activation:
    """One activation of one model; its lease is held."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._tools = course.tools
        # Until we have seen what is there, a lease that was kept may have an engine.
        course.tools.engine.may_exist = course.restored

    async def live(self) -> bool:
        """Live through it; on return the lease is free, or False: we have to go before."""
        course = self._course
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            await course.ending.run(
                self._serve,
                self._watch_demand,
                self._watch_exit,
                self._watch_stall,
                self._guard,
                self._watch_plan,
            )
            await dismiss(course)
            await wait_for_quiet(course)
            removed = await remove_engine(course)
            nursery.cancel_scope.cancel()
        if not removed:
            return False
        await reclaim(course)
        record(course)
        self._tools.ledger.free_lease()
        return True

    async def _serve(self) -> None:
        await bring_up(self._course)
        ledger, demand = self._tools.ledger, self._tools.demand
        while self._course.ending.why is None:
            await demand.wait_change()
            self._tools.board.refresh()
            # Others only need to know whether there is any: less to write, and
            # every write wakes them.
            lease = ledger.lease
            said, now = (lease.in_flight, lease.held), (demand.in_flight, demand.held)
            if [bool(count) for count in said] != [bool(count) for count in now]:
                self._describe()

    async def _follow(self) -> None:
        await self._course.started.wait()
        self._course.how = await self._tools.engine.follow(self._course.hear)
        self._course.exited.set()

    async def _guard(self) -> None:
        await watch_load(self._course)

    async def _watch_exit(self) -> None:
        await self._course.exited.wait()
        self._course.ending.tell(Why.EXITED, self._course.how)

    async def _watch_demand(self) -> None:
        if self._course.restored:
            # What it was restored for may still be on its way; see `bring_up`.
            await self._course.started.wait()
        if self._course.stays:
            await trio.sleep_forever()
        while not await self._leaves_quietly():
            pass
        self._course.ending.tell(Why.NOBODY)

    async def _leaves_quietly(self) -> bool:
        """Wait until nobody wants it and no other engine initialises; False: somebody came.

        What goes gives memory back, and who initialises just then mis-measures.
        """
        demand, lock = self._tools.demand, self._tools.ledger.init_lock
        await demand.wait_unwanted()
        while not (lock.held or lock.try_take()):
            with trio.move_on_after(INIT_POLL):
                await demand.wait_change()
            if demand.wanted:
                return False
        return True

    async def _watch_stall(self) -> None:
        course, model = self._course, self._tools.model
        await course.started.wait()
        effort, available = 0.0, course.available
        while not course.ready.is_set():
            with trio.move_on_after(STALL_POLL):
                await course.ready.wait()
            now, free = await self._tools.engine.effort(), course.available
            worked = now is not None and now > effort + STALL_EFFORT
            if worked or free < available - memory.STEP:
                course.moved = trio.current_time()
            effort, available = now or effort, free
            still = trio.current_time() - course.moved
            if still > model.timeouts.stall and not course.ready.is_set():
                words = f"the start of '{model.name}' made no progress"
                raise EngineFailed("start_timeout", f"{words} (see: spark-model logs {model.name})")

    async def _watch_plan(self) -> None:
        watch = DirectoryWatch(self._tools.ledger.directory)
        try:
            while (step := await self._look_at_plan()) is None:
                await watch.wait()
            paused = step.why is Reason.PAUSED
            words = "the GPU is paused" if paused else f"'{shown(step.to)}' waits"
            to = "" if paused else shown(step.to)
            self._course.ending.tell(Why.YIELD, words, to=to)
        finally:
            watch.close()

    async def _look_at_plan(self) -> GiveWay | None:
        try:
            # What we have in flight is read again under the lock: a request may
            # have come since it was described.
            return await self._tools.ledger.next_step(self._own_step, self._describe)
        except EngineFailed as failure:
            # Others cannot be seen for now; that is no reason to end what serves.
            logger.warning("Failed to look who waits, ignoring: %s", failure.message)
            await trio.sleep(BROKEN_PAUSE)
            return None

    def _own_step(self, plan: Plan) -> GiveWay | None:
        step = plan.holders.get(self._tools.model.name)
        if isinstance(step, GiveWay) and self._course.ending.why is None:
            self._tools.ledger.describe(LeaseState.YIELDING)
            return step
        return None

    def _describe(self) -> None:
        """Say how many requests there are, and since when there are none."""
        ledger, demand = self._tools.ledger, self._tools.demand
        idle = None
        if not demand.in_flight:
            idle = ledger.lease.idle_since
            idle = boottime() if idle is None or ledger.lease.in_flight else idle
        ledger.describe(in_flight=demand.in_flight, held=demand.held, idle_since=idle)

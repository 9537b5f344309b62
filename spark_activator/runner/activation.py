"""One activation: from the lease to the moment when nothing of the engine is left.

    lease ─ adopt, or: memory ─ init lock ─ engine ─ readiness ─┐
                                                               serve
    freed ─ memory back ─ upstream gone ─ engine gone ─ drain ──┘

The lease is freed in exactly one place, after the engine is known to be gone.
Anything unexpected on the way leaves both as they are and ends the process:
systemd keeps the lease, and the next process adopts the engine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from spark_activator import notify
from spark_activator.catalog.model import Model
from spark_activator.errors import EngineFailed, SparkError
from spark_activator.layout import Layout
from spark_activator.protocol import Failed, Stopping
from spark_activator.runner import history, memory, readiness, upstream
from spark_activator.runner.board import Board
from spark_activator.runner.demand import Demand
from spark_activator.runner.ending import Ending, Why
from spark_activator.runner.engine import Engine, LastLines
from spark_activator.runner.lease import Desk, boottime
from spark_activator.runner.plan import GiveWay, LeaseState, Plan
from spark_activator.runner.progress import Tracker
from spark_activator.runner.watch import DirectoryWatch
from spark_activator.state import Phase

logger = logging.getLogger(__name__)

# A runner that comes back to a lease without an engine gives its activators
# this long to come back too; they reconnect at once.
RETURN_LIMIT = 2.0
# Whether a start makes progress is looked at this often.
STALL_POLL = 5.0
# Less CPU than this between two looks is an idle process' housekeeping.
STALL_EFFORT = 0.5
# Docker is asked again this often whether the engine can be removed.
ASK_AGAIN = 1.0
# Told to stop while Docker is away, we leave the rest to the reaper.
GIVE_UP_AFTER = 20.0


class GaveUp(SparkError):
    """The engine could not be removed before we have to go; the lease is not freed by us."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What an activation works with."""

    layout: Layout
    model: Model
    config: str
    desk: Desk
    demand: Demand
    board: Board
    engine: Engine
    clear_others: Callable[[], Awaitable[None]]


class Activation:
    """One activation of one model; its lease is held.

    Args:
        tools: What it works with.
        ending: Why it ends.
        restored: Whether the lease was held by a process before us.
    """

    def __init__(self, tools: Tools, ending: Ending, *, restored: bool) -> None:
        self._tools = tools
        self._ending = ending
        self._restored = restored
        self._started = trio.Event()
        self._exited = trio.Event()
        self._ready = trio.Event()
        self._answers = False
        self._how = ""
        self._last = LastLines()
        self._tracker = Tracker()
        self._moved = trio.current_time()
        self._began = trio.current_time()
        self._seconds: float | None = None
        self._used: int | None = None
        tools.engine.may_exist = restored
        past = history.read_last(tools.layout.history(tools.model.name))
        self._typical = history.typical_start(past, tools.config)

    async def live(self) -> None:
        """Live through it; on return the lease is free.

        Raises:
            GaveUp: The engine could not be removed in time.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            await self._ending.run(
                self._bring_up,
                self._watch_demand,
                self._watch_exit,
                self._watch_stall,
                self._watch_plan,
            )
            await self._dismiss()
            await self._remove_engine()
            nursery.cancel_scope.cancel()
        await self._reclaim()
        self._record()
        self._tools.desk.free_lease()

    # The way up.

    async def _bring_up(self) -> None:
        tools = self._tools
        tools.desk.describe(LeaseState.STARTING)
        tools.board.show(Phase.MEMORY, "the engines that are here")
        if not await tools.engine.adopt():
            if self._restored and not await self._still_wanted():
                self._ending.tell(Why.NOBODY)
                return
            await self._make_engine()
        logger.info("activation %s of the engine", tools.engine.activation)
        tools.desk.describe(activation=tools.engine.activation)
        self._started.set()
        await self._wait_ready()
        tools.desk.init_lock.release()
        self._seconds = trio.current_time() - self._began
        if tools.desk.lease.baseline is not None:
            self._used = tools.desk.lease.baseline - memory.read_memory().available
        tools.desk.describe(LeaseState.READY, in_flight=tools.demand.in_flight)
        self._show(Phase.READY)
        self._ready.set()
        while True:
            await tools.demand.wait_change()
            self._report_in_flight()

    async def _still_wanted(self) -> bool:
        with trio.move_on_after(RETURN_LIMIT):
            while not self._tools.demand.wanting:
                await self._tools.demand.wait_change()
        return bool(self._tools.demand.wanting)

    async def _make_engine(self) -> None:
        tools, need = self._tools, self._tools.model.memory
        await tools.clear_others()
        tools.board.show(Phase.MEMORY, f"{need / memory.GIB:.1f} GiB of free memory")
        await memory.wait_free(need)
        tools.board.show(Phase.MEMORY, "another engine that initialises")
        await tools.desk.take_init_lock()
        # Whoever initialised before us may have taken more than its lease.
        before = memory.check_free(need)
        activation = upstream.new_activation()
        tools.desk.describe(activation=activation, baseline=before.available)
        # From here on our death must not free the lease.
        await trio.to_thread.run_sync(notify.barrier)
        self._show(Phase.CONTAINER)
        await tools.engine.start(activation)

    async def _wait_ready(self) -> None:
        tools, parent = self._tools, self._parent
        activation = tools.engine.activation
        assert activation is not None
        self._moved = trio.current_time()
        self._show(self._tracker.now.phase)
        with trio.move_on_after(tools.model.timeouts.start) as limit:
            await readiness.wait_healthy(parent, activation)
            # From here on it is ours to say how far it is, not the log's.
            self._answers = True
            await readiness.check_model(parent, activation, tools.model)
            if tools.model.probe:
                self._show(Phase.WARMUP)
                await readiness.generate_token(parent, activation, tools.model)
        if limit.cancelled_caught:
            raise EngineFailed(
                "start_timeout", f"'{tools.model.name}' was not ready in time (see the journal)"
            )

    # What may end it.

    async def _follow(self) -> None:
        await self._started.wait()
        self._how = await self._tools.engine.follow(self._hear)
        self._exited.set()

    def _hear(self, line: str) -> None:
        self._last.add(line)
        self._moved = trio.current_time()
        if self._tracker.hear(line) and not self._answers and self._ending.why is None:
            self._show(self._tracker.now.phase)

    async def _watch_exit(self) -> None:
        await self._exited.wait()
        self._ending.tell(Why.EXITED, self._how)

    async def _watch_demand(self) -> None:
        if self._restored:
            # What it was restored for may still be on its way; see `_bring_up`.
            await self._started.wait()
        await self._tools.demand.wait_unwanted()
        self._ending.tell(Why.NOBODY)

    async def _watch_stall(self) -> None:
        await self._started.wait()
        model, effort, available = self._tools.model, 0.0, memory.read_memory().available
        while not self._ready.is_set():
            with trio.move_on_after(STALL_POLL):
                await self._ready.wait()
            now, free = await self._tools.engine.effort(), memory.read_memory().available
            if (now is not None and now > effort + STALL_EFFORT) or free < available - memory.STEP:
                self._moved = trio.current_time()
            effort, available = now or effort, free
            if (
                trio.current_time() - self._moved > model.timeouts.stall
                and not self._ready.is_set()
            ):
                raise EngineFailed(
                    "start_timeout",
                    f"the start of '{model.name}' made no progress (see the journal)",
                )

    async def _watch_plan(self) -> None:
        await self._ready.wait()
        watch = DirectoryWatch(self._tools.desk.directory)
        try:
            while (to := await self._tools.desk.next_step(self._own_step)) is None:
                await watch.wait()
            self._ending.tell(Why.YIELD, f"'{to}' waits")
        finally:
            watch.close()

    def _own_step(self, plan: Plan) -> str | None:
        # What the plan read of us is current: we describe every change, and
        # nothing changes while this runs.
        step = plan.holders.get(self._tools.model.name)
        if isinstance(step, GiveWay) and self._tools.demand.in_flight == 0:
            self._tools.desk.describe(LeaseState.YIELDING)
            return step.to
        return None

    # The way down.

    async def _dismiss(self) -> None:
        """Tell the activators, and let them finish where there is something to finish."""
        tools, ending = self._tools, self._ending
        failure = ending.failure
        match ending.why:
            case Why.EXITED if not self._ready.is_set():
                failure = EngineFailed(
                    "start_failed",
                    f"the engine of '{tools.model.name}' {self._how} (see the journal)",
                )
            case Why.OPERATOR if not self._ready.is_set():
                failure = EngineFailed("shutting_down", f"'{tools.model.name}' was stopped by hand")
            case _:
                pass
        if self._started.is_set() and ending.why in (Why.EXITED, Why.FAILED):
            self._last.log(self._how or f"did not start: {ending.words}")
        if failure is not None:
            logger.error("%s: %s", failure.code, failure.message)
            tools.demand.dismiss(failed_line(failure))
        elif ending.why is Why.NOBODY:
            pass  # who has come since waits for the next activation
        elif ending.why is Why.EXITED or not self._ready.is_set():
            tools.demand.dismiss(Stopping())
        else:
            await self._drain()

    async def _drain(self) -> None:
        tools = self._tools
        tools.desk.describe(LeaseState.YIELDING)
        tools.demand.ask_to_yield(self._ending.words)
        self._show(Phase.DRAINING, "requests in flight")
        with trio.move_on_after(tools.model.timeouts.drain):
            await tools.demand.wait_yielded()
        tools.demand.end_leaving()

    async def _remove_engine(self) -> None:
        tools = self._tools
        tools.desk.describe(LeaseState.STOPPING, in_flight=0)
        self._show(Phase.STOPPING, "the engine to end")
        while True:
            try:
                await tools.engine.stop()
                break
            except EngineFailed as failure:
                # Who comes now must not wait for what may take hours.
                tools.demand.dismiss(failed_line(failure))
                self._show(Phase.STOPPING, "Docker, to remove the engine")
                if self._ending.why is Why.TERMINATED and self._past(GIVE_UP_AFTER):
                    raise GaveUp("Docker is away: the engine is left to the reaper") from failure
                await trio.sleep(ASK_AGAIN)
        upstream.remove_all(self._parent)

    async def _reclaim(self) -> None:
        tools, baseline = self._tools, self._tools.desk.lease.baseline
        if baseline is None or not self._started.is_set():
            return
        tools.desk.describe(LeaseState.RECLAIMING)
        self._show(Phase.RECLAIMING, "its memory to come back")
        missing = await memory.wait_returned(baseline, tools.model.memory)
        if missing:
            logger.warning("%.1f GiB of memory have not come back", missing / memory.GIB)

    def _record(self) -> None:
        tools = self._tools
        if not self._started.is_set():
            return
        entry = {
            "activation": tools.desk.lease.activation,
            "config": tools.config,
            "image": tools.model.image.pull_spec if tools.model.image else None,
            "time": int(time.time()),
            # An adopted engine was started by somebody else: no measure of a start.
            "start": None if self._restored or self._seconds is None else round(self._seconds, 3),
            "memory": self._used,
            "phases": {phase: round(at, 3) for phase, at in tools.board.began.items()},
            "ended": round(boottime(), 3),
            "why": self._ending.why,
            "words": self._ending.words,
        }
        history.append(tools.layout.history(tools.model.name), entry)

    # Little things.

    @property
    def _parent(self) -> Path:
        return self._tools.layout.upstream(self._tools.model.name)

    def _past(self, seconds: float) -> bool:
        return boottime() - self._tools.desk.lease.since > seconds

    def _report_in_flight(self) -> None:
        desk, in_flight = self._tools.desk, self._tools.demand.in_flight
        self._tools.board.refresh()
        # Others only need to know whether there is any: less to write, and
        # every write wakes them.
        if bool(desk.lease.in_flight) is not bool(in_flight):
            desk.describe(in_flight=in_flight)

    def _show(self, phase: Phase, waiting_for: str = "") -> None:
        starting = phase in (*_LOADING, Phase.WARMUP)
        eta = None
        if starting and self._typical is not None:
            eta = max(0.0, self._typical - (trio.current_time() - self._began))
        self._tools.board.show(
            phase,
            waiting_for or _LOADING.get(phase, ""),
            activation=self._tools.desk.lease.activation,
            progress=self._tracker.now.share if phase is self._tracker.now.phase else None,
            eta=eta,
            stopped_by="" if self._ending.why is None else self._ending.words,
        )


_LOADING = {
    Phase.CONTAINER: "the engine to start",
    Phase.WEIGHTS: "the engine to read its weights",
    Phase.COMPILE: "the engine to compile",
    Phase.GRAPHS: "the engine to capture CUDA graphs",
    Phase.WARMUP: "the engine's first token",
}


def failed_line(failure: EngineFailed) -> Failed:
    """Say *failure* as the protocol does."""
    return Failed(failure.code, failure.message, failure.retry_after)

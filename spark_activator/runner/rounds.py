"""The runner: activation after activation, as long as there is demand; then it leaves.

Exit rule: leave only when, after the decision to, an accept has returned that
nobody waits.  Between that answer and the exit nothing is awaited.
"""

from __future__ import annotations

import logging
import signal
import socket
from contextlib import suppress
from functools import partial

import trio

from spark_activator import notify
from spark_activator.catalog.frozen import config_hash
from spark_activator.catalog.model import Model
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.protocol import Failed, Queued, Stopping
from spark_activator.runner import breaker_file, settings, starts, usage
from spark_activator.runner.activation import Activation
from spark_activator.runner.board import Board
from spark_activator.runner.commands import Commands
from spark_activator.runner.course import Course, Tools
from spark_activator.runner.demand import KEPT, Demand
from spark_activator.runner.door import Door
from spark_activator.runner.ending import Ending, Why
from spark_activator.runner.engines import Engines
from spark_activator.runner.gpu_files import boottime
from spark_activator.runner.lease import Ledger
from spark_activator.runner.queueing import Queue, ticket_of
from spark_activator.runner.way_down import failed_line

logger = logging.getLogger(__name__)

# Nobody came (a restart, a person's `start`), or the last start failed and the
# client's next try is near.
LINGER = 5.0
# A model that cannot be read any more has an engine that cannot be reached either.
ABANDON_POLL = 1.0
# Dismissed activators close at once.
FLUSH_LIMIT = 1.0
# While we are on our way out systemd is told every now and then that we still
# are; its own limit counts from there.
EXTEND_EVERY = 5.0
EXTEND_BY = 60


class Runner:
    """One model's runner.

    Args:
        name: The model.
        layout: Where everything lies.
        listener: Where activators connect; systemd owns it.
    """

    def __init__(self, name: str, layout: Layout, listener: socket.socket) -> None:
        self._name = name
        self._layout = layout
        self._ledger = Ledger(layout, name)
        self._engines = Engines(layout, name)
        self._demand = Demand(partial(usage.add, layout.usage(name)))
        self._board = Board(layout.state_file(name), name, self._demand)
        commands = Commands(name, layout, self._demand, self._stop)
        self._door = Door(listener, self._demand, commands.carry_out)
        self._ending: Ending | None = None
        self._terminated = False
        self._gave_up = False
        self._began = trio.current_time()
        self._failed_at: float | None = None
        # A utility that went for an exclusive model comes back although nobody asks.
        self._returning = False
        self._retried = False

    async def run(self, stored: dict[str, list[int]]) -> bool:
        """Run until nobody wants the model, with what systemd *stored* for us.

        Returns:
            False when something had to be left to the reaper.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch_signals)
            nursery.start_soon(self._feed_watchdog)
            self._ledger.stored = stored
            with suppress(EngineFailed):  # each activation will try again
                await self._restore()
            notify.ready("waiting for an activator")
            nursery.start_soon(self._door.keep_open, nursery)
            await self._live()
            nursery.cancel_scope.cancel()
        return not self._gave_up and not self._ledger.stored

    async def _restore(self) -> None:
        if not await self._ledger.restore():
            return
        if self._ledger.lease_lock.held or self._ledger.ticket_lock.held:
            logger.info("back again, keeping what was held")
            self._returning = self._ledger.ticket_lock.held and self._ledger.ticket.returning
            # Nothing yields before its activators had time to come back.
            self._demand.keep(KEPT, max(1, self._ledger.lease.in_flight))

    async def _live(self) -> None:
        while not self._terminated:
            if self._is_needed:
                await self._activate()
            elif self._door.open:
                await self._demand.wait_change()
            elif trio.current_time() < self._leave_at:
                with trio.move_on_at(self._leave_at):
                    await self._demand.wait_change()
            elif not self._door.accept_nowait():
                return
        # Those who were told something should get to read it.
        with trio.move_on_after(FLUSH_LIMIT):
            while self._door.open:
                await self._demand.wait_change()

    @property
    def _is_needed(self) -> bool:
        kept = self._ledger.lease_lock.held or bool(self._ledger.stored)
        return self._demand.wanted or self._returning or kept

    @property
    def _leave_at(self) -> float:
        if self._failed_at is not None:
            return self._failed_at + LINGER
        return self._began if self._door.used else self._began + LINGER

    # Activations.

    async def _activate(self) -> None:
        ending = self._ending = Ending(self._close)
        self._failed_at = None
        self._board.begin()
        try:
            await self._restore()
            model = settings.load_model(self._layout, self._name)
            await self._one(model, ending)
        except EngineFailed as failure:
            self._demand.dismiss(failed_line(failure))
            self._failed_at = trio.current_time()
            self._returning = False
            self._ledger.drop_ticket()
            if self._ledger.lease_lock.held:
                await self._abandon()
            if self._ledger.stored:
                await trio.sleep(ABANDON_POLL)
        finally:
            self._ending = None
        if ending.why is Why.FAILED:
            self._failed_at = trio.current_time()
        self._board.clear()
        self._demand.notify()

    async def _one(self, model: Model, ending: Ending) -> None:
        restored = self._ledger.lease_lock.held
        config = config_hash(model)
        if not restored:
            await starts.check(self._layout, model, self._ledger)
            returning = self._returning and not self._demand.awaited
            since = boottime() if returning else self._demand.since
            ticket = ticket_of(self._layout, model, config, since, returning=returning)
            await Queue(model, ticket, self._ledger, self._demand, self._board).wait(ending)
        self._returning = False
        if not self._ledger.lease_lock.held:
            self._ledger.drop_ticket()
            self._dismiss_queued(ending)
            return
        if not restored:
            self._ledger.lease_lock.store()
        # Only now: who dies in between has lost neither its place nor its turn.
        self._ledger.drop_ticket()
        if breaker_file.is_held(self._layout, self._name):
            # Held, and killed before the engine was stopped.
            ending.tell(Why.OPERATOR)
        engine, clear_others = self._engines.make(model, config)
        tools = Tools(
            self._layout,
            model,
            config,
            self._ledger,
            self._demand,
            self._board,
            engine,
            clear_others,
        )
        course = Course(tools, ending, restored=restored, told_to_stop=lambda: self._terminated)
        course.may_be_retried = not self._retried
        self._gave_up = not await Activation(course).live()
        if ending.why is Why.EXITED and not course.ready.is_set():
            self._failed_at = trio.current_time()
        self._returning = course.comes_back
        self._retried = course.retried

    async def _abandon(self) -> None:
        """End an engine whose model cannot be read any more, and free its lease."""
        while True:
            try:
                await self._engines.end_any()
                break
            except EngineFailed as failure:
                self._demand.dismiss(failed_line(failure))
                if self._terminated:
                    self._gave_up = True
                    return
                await trio.sleep(ABANDON_POLL)
        self._ledger.free_lease()

    def _dismiss_queued(self, ending: Ending) -> None:
        if ending.failure is not None:
            self._demand.dismiss(failed_line(ending.failure))
        elif ending.why is Why.OPERATOR:
            self._demand.dismiss(Failed("shutting_down", f"'{self._name}' was stopped by hand"))
        elif ending.why in (Why.TERMINATED, Why.NOBODY):
            self._demand.dismiss(Stopping())

    def _close(self) -> None:
        self._demand.close(Queued(1, (self._name,)))

    async def _stop(self) -> bool:
        """End the activation that goes on and return when it is over; False without one."""
        ending = self._ending
        if ending is None:
            return False
        ending.tell(Why.OPERATOR)
        while self._ending is ending:
            await self._demand.wait_change()
        return True

    # The process.

    async def _watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self._terminated = True
                notify.stopping("told to stop")
                self._door.shut()
                if self._ending is not None:
                    self._ending.tell(Why.TERMINATED)
                self._demand.notify()

    async def _feed_watchdog(self) -> None:
        interval = notify.watchdog_interval()
        while True:
            if interval is not None:
                notify.watchdog()
            if self._terminated:
                notify.notify(f"EXTEND_TIMEOUT_USEC={EXTEND_BY * 1_000_000}")
            await trio.sleep(min(interval or EXTEND_EVERY, EXTEND_EVERY))

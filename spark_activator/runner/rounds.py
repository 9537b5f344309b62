"""The runner: activation after activation, as long as there is demand; then it leaves.

Exit rule: leave only when, after the decision to, an accept has returned that
nobody waits.  Between that answer and the exit nothing is awaited.
"""

from __future__ import annotations

import logging
import signal
import socket

import trio

from spark_activator import notify
from spark_activator.catalog.frozen import config_hash
from spark_activator.catalog.model import Engine as EngineKind
from spark_activator.catalog.model import Model
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.protocol import Answer, Control, Failed, Queued, Ready, Starting, Stopping
from spark_activator.runner import connection, settings, upstream
from spark_activator.runner.activation import Activation, Tools, failed_line
from spark_activator.runner.board import Board
from spark_activator.runner.container import ContainerEngine, find_all, remove
from spark_activator.runner.demand import KEPT, Claim, Demand
from spark_activator.runner.dockerd import Dockerd
from spark_activator.runner.ending import Ending, Why
from spark_activator.runner.engine import Engine
from spark_activator.runner.lease import Desk
from spark_activator.runner.plan import Plan, Take, Wait
from spark_activator.runner.process import ProcessEngine
from spark_activator.runner.reaper import reap
from spark_activator.runner.watch import DirectoryWatch
from spark_activator.state import Phase

logger = logging.getLogger(__name__)

# Nobody came (a restart, a person's `start`), or the last start failed and the
# client's next try is near.
LINGER = 5.0
# Out of descriptors: connections end meanwhile.
ACCEPT_PAUSE = 0.1
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
        self._listener = listener
        self._desk = Desk(layout.gpu, name)
        self._demand = Demand()
        self._board = Board(layout.state_file(name), name, self._demand)
        self._connections = 0
        self._ending: Ending | None = None
        self._terminated = False
        self._accepting = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        # Nobody has come yet; see LINGER.
        self._leave_at = trio.current_time() + LINGER

    async def run(self, stored: dict[str, list[int]]) -> None:
        """Run until nobody wants the model, with what systemd *stored* for us.

        Raises:
            GaveUp: The engine could not be removed before we had to go.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._watch_signals)
            nursery.start_soon(self._feed_watchdog)
            await self._restore(stored)
            notify.ready("waiting for an activator")
            nursery.start_soon(self._accept)
            await self._live()
            nursery.cancel_scope.cancel()
        self._board.clear()

    async def _restore(self, stored: dict[str, list[int]]) -> None:
        try:
            await self._desk.restore(stored)
        except EngineFailed as failure:
            # Each activation will say so to whoever asks.
            logger.error("%s", failure.message)
        if self._desk.lease_lock.held or self._desk.ticket_lock.held:
            logger.info("back again, keeping what was held")
            # Nothing yields before its activators had time to come back.
            self._demand.keep(KEPT, max(1, self._desk.lease.in_flight))

    async def _live(self) -> None:
        while not self._terminated:
            if self._demand.wanted or self._desk.lease_lock.held:
                await self._activate()
            elif self._connections:
                await self._demand.wait_change()
            elif trio.current_time() < self._leave_at:
                with trio.move_on_at(self._leave_at):
                    await self._demand.wait_change()
            elif not self._accept_nowait():
                return
        # Those who were told something should get to read it.
        with trio.move_on_after(FLUSH_LIMIT):
            while self._connections:
                await self._demand.wait_change()

    # Activations.

    async def _activate(self) -> None:
        ending = self._ending = Ending(self._close)
        self._board.begin()
        try:
            model = settings.load_model(self._layout, self._name)
            await self._one(model, ending)
        except EngineFailed as failure:
            self._demand.dismiss(failed_line(failure))
            self._leave_at = trio.current_time() + LINGER
            self._desk.drop_ticket()
            if self._desk.lease_lock.held:
                await self._abandon()
        finally:
            self._ending = None
        if ending.why is Why.FAILED:
            self._leave_at = trio.current_time() + LINGER
        self._board.clear()
        self._demand.notify()

    async def _one(self, model: Model, ending: Ending) -> None:
        restored = self._desk.lease_lock.held
        if not restored:
            await self._queue(model, ending)
        if not self._desk.lease_lock.held:
            self._desk.drop_ticket()
            self._dismiss_queued(ending)
            return
        self._desk.lease_lock.store()
        engine = self._engine(model)
        config = config_hash(model)
        tools = Tools(
            self._layout, model, config, self._desk, self._demand, self._board, engine,
            self._clear_others if isinstance(engine, ContainerEngine) else trio.lowlevel.checkpoint,
        )  # fmt: skip
        await Activation(tools, ending, restored=restored).live()

    async def _queue(self, model: Model, ending: Ending) -> None:
        await self._desk.draw_ticket(model, self._demand.since)
        watch = DirectoryWatch(self._desk.directory)

        def own_step(plan: Plan) -> Wait | None:
            step = plan.waiters.get(self._name)
            if isinstance(step, Take) and self._desk.take_lease(model):
                return None
            return step if isinstance(step, Wait) else Wait(1, ())

        async def wait_turn() -> None:
            while (step := await self._desk.next_step(own_step)) is not None:
                ahead = ", ".join(step.ahead)
                self._board.show(
                    Phase.QUEUED,
                    f"position {step.position}, behind {ahead}" if ahead else "its turn",
                    position=step.position,
                    ahead=step.ahead,
                )
                await watch.wait()

        async def watch_demand() -> None:
            await self._demand.wait_unwanted()
            ending.tell(Why.NOBODY)

        try:
            await ending.run(wait_turn, watch_demand)
        finally:
            watch.close()

    def _dismiss_queued(self, ending: Ending) -> None:
        if ending.failure is not None:
            self._demand.dismiss(failed_line(ending.failure))
        elif ending.why is Why.OPERATOR:
            self._demand.dismiss(Failed("shutting_down", f"'{self._name}' was stopped by hand"))
        elif ending.why is Why.TERMINATED:
            self._demand.dismiss(Stopping())

    def _engine(self, model: Model) -> Engine:
        config = config_hash(model)
        if model.engine is EngineKind.PROCESS:
            return ProcessEngine(self._name, model, config, layout=self._layout)
        host = settings.load_host(self._layout)
        return ContainerEngine(
            model, config, layout=self._layout, host=host, dockerd=Dockerd(host.docker_host)
        )

    async def _clear_others(self) -> None:
        """Remove containers of ours whose runner is gone: they have the memory we leased."""
        dockerd = self._dockerd()
        for other in {found.model for found in await find_all(dockerd, self._layout)} - {self._name}:
            if await reap(self._layout, dockerd, other):
                logger.warning("removed what was left of '%s'", other)

    async def _abandon(self) -> None:
        """End an engine whose model cannot be read any more, and free its lease."""
        dockerd = self._dockerd()
        process = ProcessEngine(self._name, None, "", layout=self._layout)
        while True:
            try:
                if self._layout.engine_socket(self._name).exists():
                    await process.adopt()
                if dockerd.is_there:
                    await remove(dockerd, self._layout, self._name)
                break
            except EngineFailed as failure:
                self._demand.dismiss(failed_line(failure))
                await trio.sleep(ABANDON_POLL)
        upstream.remove_all(self._layout.upstream(self._name))
        self._desk.free_lease()

    def _dockerd(self) -> Dockerd:
        return Dockerd(settings.load_host(self._layout).docker_host)

    def _close(self) -> None:
        self._demand.close(Queued(1, (self._name,)))

    # Connections.

    async def _accept(self) -> None:
        with self._accepting:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                try:
                    self._accept_nowait()
                except OSError as error:
                    logger.error("Cannot accept, trying again: %s", error)
                    await trio.sleep(ACCEPT_PAUSE)

    def _accept_nowait(self) -> bool:
        """Serve whoever waits; False when nobody does."""
        assert self._nursery is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        self._leave_at = trio.current_time()
        self._connections += 1
        self._nursery.start_soon(self._serve, sock)
        return True

    async def _serve(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)  # noqa: FBT003  # takes it by position only
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            await connection.serve(stream, self._demand, self._control)
        finally:
            self._connections -= 1
            self._demand.notify()

    async def _control(self, control: Control) -> Answer:
        match control.command:
            case "stop":
                return await self._stop()
            case "warm":
                return await self._warm()
            case _:
                return Answer(ok=False, message=f"'{control.command}' is not supported yet")

    async def _stop(self) -> Answer:
        ending = self._ending
        if ending is None:
            return Answer(ok=True, message=f"'{self._name}' is not running")
        ending.tell(Why.OPERATOR)
        while self._ending is ending:
            await self._demand.wait_change()
        return Answer(ok=True, message=f"'{self._name}' is stopped")

    async def _warm(self) -> Answer:
        claim = Claim()
        claim.in_flight = 0
        self._demand.join(claim)
        try:
            async for line in claim.lines:
                if isinstance(line, Ready):
                    idle = settings.load_model(self._layout, self._name).timeouts.idle
                    self._demand.keep(idle, 0)
                    return Answer(ok=True, message=f"'{self._name}' is ready")
                if isinstance(line, Failed):
                    return Answer(ok=False, message=line.message)
                if not isinstance(line, Queued | Starting):
                    return Answer(ok=False, message=f"'{self._name}' was stopped")
        finally:
            self._demand.leave(claim, lost=False)
        raise AssertionError  # the outbox is never closed

    # The process.

    async def _watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self._terminated = True
                notify.stopping("told to stop")
                # Who comes now stays in the backlog: systemd knows what becomes of it.
                self._accepting.cancel()
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

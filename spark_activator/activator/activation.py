"""One activation: from the listener to the exit.

**The exit rule.** The process exits 0 only when, after the decision to leave
(`idle`), an accept has returned EAGAIN, on each listener where there are several,
and nothing is in flight.  An accept that succeeds is served and the decision is
taken anew.  So no client is lost: either
we accept it, or it stays in the backlog of the listener, which systemd owns and
looks at again when we are gone.  Between the EAGAIN and the decision nothing is
awaited.

SIGTERM is another way out: nothing more is accepted, who is held is refused, who
is served may finish.  The runner is not told `bye` then: whoever ended us may be
about to start us again, and the model is kept for a while for that.

The death of something that all requests need is the same way with another exit
status, after which systemd starts us again.
"""

from __future__ import annotations

import errno
import logging
import math
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import trio

from spark_activator import notify
from spark_activator.activator.connection import Connection
from spark_activator.activator.demand import Demand
from spark_activator.activator.desk import Desk
from spark_activator.activator.gate import Gate
from spark_activator.activator.guests import Guests
from spark_activator.activator.idle import IdleClock
from spark_activator.activator.listeners import Listeners
from spark_activator.activator.presence import Presence
from spark_activator.activator.reach import Engines
from spark_activator.activator.relay import Relay, RelayError
from spark_activator.activator.stall import end_stalled
from spark_activator.activator.wire import ClientGone, Wire
from spark_activator.catalog.model import Keep, Model, Timeouts
from spark_activator.errors import Refusal
from spark_activator.facts import fact
from spark_activator.layout import Layout

logger = logging.getLogger(__name__)

# Between two turns of the loop, so that a flood of clients starves nobody.
ACCEPTED_AT_ONCE: Final = 64
# The listener is none (any more).  Whatever else accept(2) says is one client's
# trouble, or descriptors or memory are short: closing connections give some back.
NO_LISTENER: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
SHORT_PAUSE: Final = 0.1
# systemd and its readers have better things to do than to follow every request.
STATUS_PAUSE: Final = 1.0


class Activation:
    """The life of one activator process."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        model: Model | Refusal,
        listeners: Sequence[socket.socket],
    ) -> None:
        self._name = name
        self._layout = layout
        self._model = model
        self._listeners = Listeners(listeners)
        self._guests = Guests()
        self._accepting = trio.CancelScope()
        self._leaving = False
        self._failed = False
        self._changed = trio.Event()
        timeouts = model.timeouts if isinstance(model, Model) else Timeouts()
        self._names = model.names if isinstance(model, Model) else (name,)
        always = isinstance(model, Model) and model.keep is Keep.ALWAYS
        self._drain_limit = timeouts.drain
        self._most_served = model.requests.most_served if isinstance(model, Model) else None
        self._idle = math.inf if always else timeouts.idle

    async def run(self) -> bool:
        """Serve until nobody needs the model any more, or until SIGTERM.

        Returns:
            Whether all is well: False after a bug that ended all of it.
        """
        self._clock = IdleClock(self._idle, trio.current_time())
        self._demand = Demand(
            self._name, self._layout, self._clock, self._note_change, self._most_served
        )
        presence = Presence()
        engines = Engines(self._layout.upstream(self._name))
        try:
            async with Relay() as relay, trio.open_nursery() as nursery:
                self._desk = Desk(
                    self._model,
                    engines,
                    clock=self._clock,
                    demand=self._demand,
                    presence=presence,
                    relay=relay,
                    gate=Gate(self._layout, self._names),
                )
                nursery.start_soon(self._guard, presence.run)
                nursery.start_soon(self._guard, self._demand.run)
                nursery.start_soon(self._guard, self._desk.intake.run)
                nursery.start_soon(self._guard, self._desk.herald.run)
                await nursery.start(self._heed_signals)
                notify.ready(self._desk.sentence())
                nursery.start_soon(self._guard, self._show_status)
                nursery.start_soon(self._guard, self._feed_watchdog)
                nursery.start_soon(self._guard, partial(end_stalled, relay.lanes))
                await self._serve(nursery)
                nursery.cancel_scope.cancel()
        except RelayError as error:
            self._fail(error)
        finally:
            presence.close()
            engines.close()
            self._listeners.close()
        counts = self._desk.counts
        logger.info("%s", fact("leaves", requests=counts.requests, ended=counts.ended))
        return not self._failed

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run what all requests need."""
        try:
            await task()
        except Exception as error:  # noqa: BLE001  # whoever is connected is answered first
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            logger.error("Met a bug, leaving to be started again", exc_info=error)
        self._failed = True
        self._leave()

    def _leave(self) -> None:
        self._leaving = True
        self._accepting.cancel()

    async def _serve(self, connections: trio.Nursery) -> None:
        await self._accept(connections)
        if not self._leaving:
            notify.stopping("idle, leaving")
            await self._demand.bye()
            return
        logger.info("Leaving, %d in flight", self._clock.in_flight)
        notify.stopping(f"draining, {self._clock.in_flight} in flight")
        self._demand.refuse(Refusal("shutting_down", "the model's activator is being stopped"))
        self._guests.hang_up()
        with trio.move_on_after(self._drain_limit):
            await self._guests.wait_none()
        await self._demand.settle()

    async def _accept(self, connections: trio.Nursery) -> None:
        """Accept clients until the exit rule or a signal says that it is enough."""
        while not self._leaving:
            # One scope for many clients.  Who comes moves the moment only back: at an
            # earlier one it is seen that it was too early.
            with trio.CancelScope(deadline=self._leave_at) as self._accepting:
                while True:
                    await self._listeners.wait()
                    await self._accept_waiting(connections)
            # True comes without a wait, see the exit rule.
            nothing_waits = await self._accept_waiting(connections)
            if nothing_waits and trio.current_time() >= self._leave_at and self._guests.hang_up():
                return

    async def _accept_waiting(self, connections: trio.Nursery) -> bool:
        """Accept who waits; True when nobody is left waiting, and then at once."""
        if self._leaving:
            return False
        nothing_waits = True
        try:
            for listener in self._listeners.each:
                nothing_waits &= self._accept_from(listener, connections)
        except OSError as error:
            if error.errno in NO_LISTENER:
                raise
            logger.warning("Failed to accept a client, trying again: %s", error)
            await trio.sleep(SHORT_PAUSE)
            return False
        return nothing_waits

    def _accept_from(self, listener: socket.socket, connections: trio.Nursery) -> bool:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return True
            except ConnectionError:
                continue  # it left before it was accepted
            sock.setblocking(False)  # noqa: FBT003  # takes it by position only
            client = Wire(sock, ClientGone)
            self._guests.came(client)
            connections.start_soon(self._serve_one, client, str(address[0]))
        return False

    async def _serve_one(self, client: Wire, peer: str) -> None:
        try:
            await Connection(client, self._desk, peer, self._guests.spoke).serve()
        except RelayError as error:
            self._fail(error)
        finally:
            self._guests.left(client)
            self._retime()

    def _note_change(self) -> None:
        self._retime()
        self._changed.set()

    @property
    def _leave_at(self) -> float:
        # Who has spoken is answered and closed within seconds, or is in flight.
        return self._guests.leave_at(self._clock.leave_at)

    def _retime(self) -> None:
        self._accepting.deadline = self._leave_at

    async def _heed_signals(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _number in signals:
                self._leave()

    async def _show_status(self) -> None:
        shown = self._desk.sentence()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while (text := self._desk.sentence()) != shown and not self._leaving:
                if notify.status(text):
                    shown = text
                await trio.sleep(STATUS_PAUSE)

    async def _feed_watchdog(self) -> None:
        interval = notify.watchdog_interval()
        while interval is not None:
            await self._desk.relay.prove()
            heard = notify.watchdog()
            # systemd is away for a second while it reloads: not a reason to be killed.
            await trio.sleep(interval if heard else min(interval, STATUS_PAUSE))

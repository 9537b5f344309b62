"""One process engine and the runner that has it.

Whoever takes over drops who was there before: there is one runner a model, so
that the older connection is a dead one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import socket

import trio

from spark_activator import notify
from spark_activator.runner.supervisor_client import FIRST_LINE_LIMIT, FLUSH_LIMIT, Client
from spark_activator.runner.supervisor_engine import Engine
from spark_activator.runner.supervisor_lines import BadOrder, Run, read_first, read_next

logger = logging.getLogger(__name__)

# systemd starts a crashed runner again within a second, and Python takes some;
# it is the same time for which a runner keeps the engine of a lost activator.
KEEP = 30.0
# As every process of ours that nobody asks for anything (design: exit rule).
LEAVE_AFTER = 5.0
# What a shell says of a command that it cannot start.
CANNOT_START = 127
# A pipe that poll(2) calls writable takes at least this much without blocking.
ATOMIC = select.PIPE_BUF


class Supervisor:
    """At most one engine, and at most one runner that has it.

    Args:
        keep: Seconds for which an engine is kept whose runner was lost.
        leave_after: Seconds after which we leave when there is nothing to do.
    """

    def __init__(self, *, keep: float = KEEP, leave_after: float = LEAVE_AFTER) -> None:
        self._keep = keep
        self._leave_after = leave_after
        self._engine: Engine | None = None
        self._owner: Client | None = None
        self._connections = 0
        self._idle_since = math.inf
        self._accepting = trio.CancelScope()
        self._keeping = trio.CancelScope()
        self._stopping = trio.Event()

    def stop(self) -> None:
        """Make `serve` take nobody any more, end the engine and return."""
        self._stopping.set()
        self._accepting.cancel()

    async def serve(self, listener: socket.socket) -> None:
        """Serve runners until there was nothing to do for a while, or until `stop`."""
        async with trio.open_nursery() as nursery:
            self._note_idleness()
            while (accepted := await self._accept(listener)) is not None:
                self._connections += 1
                self._note_idleness()
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
                nursery.start_soon(self._serve_runner, stream, nursery)
            if self._engine is not None:
                self._engine.end(self._engine.run.grace)
                await self._engine.gone.wait()
            # What is still connected gets to read its last lines.
            nursery.cancel_scope.deadline = trio.current_time() + FLUSH_LIMIT

    async def _accept(self, listener: socket.socket) -> socket.socket | None:
        """Return the next runner's connection, or None when we leave.

        After the decision to leave one accept must find nobody: who connects
        later finds the next supervisor, and nobody is lost between the two.
        """
        while not self._stopping.is_set():
            with trio.CancelScope(deadline=self._deadline) as self._accepting:
                await trio.lowlevel.wait_readable(listener)
            if self._stopping.is_set():
                return None  # by `stop`: systemd keeps who comes for the next of us
            try:
                return listener.accept()[0]
            except ConnectionAbortedError:
                continue
            except BlockingIOError:
                if trio.current_time() >= self._deadline:
                    return None
        return None

    @property
    def _deadline(self) -> float:
        return self._idle_since + self._leave_after

    def _note_idleness(self) -> None:
        busy = self._connections > 0 or self._engine is not None
        self._idle_since = math.inf if busy else trio.current_time()
        self._accepting.deadline = self._deadline

    async def _serve_runner(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        client = Client(stream)
        try:
            async with stream:
                with client.scope:
                    await self._talk(client, nursery)
        except BadOrder as error:
            logger.warning("Bad order from the runner, closing its connection: %s", error)
        finally:
            self._connections -= 1
            if self._owner is client:
                self._owner = None
                if self._engine is not None:
                    # Made here: who takes over before the task begins has to find it.
                    self._keeping = trio.CancelScope(deadline=trio.current_time() + self._keep)
                    nursery.start_soon(self._wait_for_runner, self._engine, self._keeping)
            self._note_idleness()

    async def _talk(self, client: Client, nursery: trio.Nursery) -> None:
        line = None
        with trio.move_on_after(FIRST_LINE_LIMIT):
            line = await client.read_line()
        if line is None:
            return
        order = read_first(line)
        # One that is on its way out is nobody's: the next one starts after it.
        while self._engine is not None and self._engine.ending.is_set():
            await self._engine.gone.wait()
        if self._stopping.is_set():
            return
        if self._engine is not None:
            self._hand_over(self._engine, client)
        elif isinstance(order, Run):
            self._start(order, client, nursery)
        else:
            client.say("none")
            client.finish()
        async with trio.open_nursery() as talk:
            talk.start_soon(self._obey, client)
            await client.send_events()
            talk.cancel_scope.cancel()

    async def _obey(self, client: Client) -> None:
        """Carry out orders until the runner has gone."""
        try:
            while (line := await client.read_line()) is not None:
                stop = read_next(line)
                if self._owner is client and self._engine is not None:
                    self._engine.end(stop.grace)
        except BadOrder as error:
            logger.warning("Bad order from the runner, closing its connection: %s", error)
        client.scope.cancel()

    def _start(self, run: Run, client: Client, nursery: trio.Nursery) -> None:
        try:
            engine = Engine(run, self._on_line)
        except OSError as error:
            client.say("log", line=f"Cannot start '{run.command[0]}': {error}")
            client.say("exited", status=CANNOT_START)
            client.finish()
            return
        self._engine, self._owner = engine, client
        client.say("started", pid=engine.pid, activation=run.activation)
        notify.status(f"engine of activation {run.activation}, process {engine.pid}")
        nursery.start_soon(self._supervise, engine)

    async def _supervise(self, engine: Engine) -> None:
        await engine.supervise()
        self._engine = None
        notify.status(f"no engine: the last one exited with status {engine.status}")
        if self._owner is not None:
            self._owner.say("exited", status=engine.status)
            self._owner.finish()
            self._owner = None
        self._note_idleness()

    def _hand_over(self, engine: Engine, client: Client) -> None:
        if self._owner is not None:
            self._owner.scope.cancel()
        self._owner = client
        self._keeping.deadline = math.inf
        run = engine.run
        client.say("running", pid=engine.pid, activation=run.activation, config=run.config)
        for line in engine.lines:
            client.say("log", line=line, past=True)

    async def _wait_for_runner(self, engine: Engine, scope: trio.CancelScope) -> None:
        """End *engine* unless somebody takes it before *scope* ends."""
        with scope:
            await engine.gone.wait()
        if scope.cancelled_caught:
            logger.warning("No runner came back for %g s, ending the engine", self._keep)
            engine.end(engine.run.grace)

    def _on_line(self, line: str) -> None:
        _copy_to_stderr(line)
        if self._owner is not None:
            self._owner.say("log", line=line)


def _copy_to_stderr(line: str) -> None:
    """Write *line* for the journal, or drop it where that would block."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    if any(events & select.POLLOUT for _, events in poll.poll(0)):
        with contextlib.suppress(OSError):
            os.write(2, line.encode()[: ATOMIC - 1] + b"\n")

"""Where activators and the command line come in: the listener that systemd owns.

Accepting is apart from waiting, so that the exit rule can ask "is anybody there?"
and act on the answer without awaiting anything in between.
"""

from __future__ import annotations

import logging
import socket

import trio

from spark_activator.runner.connection import OnControl, serve
from spark_activator.runner.demand import Demand

logger = logging.getLogger(__name__)

# Out of descriptors: connections end meanwhile.
ACCEPT_PAUSE = 0.1


class Door:
    """Serves every connection as a task of its own.

    Attributes:
        open: How many connections are.
        used: Whether there was ever one.

    Args:
        listener: Where they come in.
        demand: Where claims go, and who is told when `open` changes.
        control: Carries out what the command line asks for.
    """

    def __init__(self, listener: socket.socket, demand: Demand, control: OnControl) -> None:
        self.open = 0
        self.used = False
        self._listener = listener
        self._demand = demand
        self._control = control
        self._accepting = trio.CancelScope()
        self._nursery: trio.Nursery | None = None

    async def keep_open(self, nursery: trio.Nursery) -> None:
        """Accept into *nursery* until `shut`."""
        self._nursery = nursery
        with self._accepting:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                try:
                    self.accept_nowait()
                except OSError as error:
                    logger.error("Cannot accept, trying again: %s", error)
                    await trio.sleep(ACCEPT_PAUSE)

    def shut(self) -> None:
        """Accept nobody any more: who comes now stays in the backlog, which is systemd's."""
        self._accepting.cancel()

    def accept_nowait(self) -> bool:
        """Serve whoever waits; False when nobody does.

        Raises:
            OSError: There are no descriptors left.
        """
        assert self._nursery is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        self.used = True
        self.open += 1
        self._nursery.start_soon(self._serve, sock)
        return True

    async def _serve(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)  # noqa: FBT003  # takes it by position only
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            await serve(stream, self._demand, self._control)
        finally:
            self.open -= 1
            self._demand.notify()

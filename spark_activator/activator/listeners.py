"""The sockets that clients connect to: one, or one for each address of host.yaml."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence

import trio


class Listeners:
    """All of one model; systemd owns what they listen on.

    Attributes:
        each: The sockets.
    """

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.each = tuple(sockets)
        # Several are one to wait for: an epoll is readable when one in it is.
        self._all: select.epoll | None = None
        if len(self.each) > 1:
            self._all = select.epoll()
            for sock in self.each:
                self._all.register(sock, select.EPOLLIN)

    async def wait(self) -> None:
        """Return when somebody waits at one of them."""
        await trio.lowlevel.wait_readable(self.each[0] if self._all is None else self._all.fileno())

    def close(self) -> None:
        """Wait for them no more."""
        if self._all is not None:
            self._all.close()

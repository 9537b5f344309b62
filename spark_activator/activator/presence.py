"""Notice that a client leaves while nothing is read from it.

The body of a held request lies unread in the kernel, so that a wait for
readability sees the body and not the end behind it.  epoll's RDHUP does see it.
trio does not ask for it: so one epoll of our own, which trio waits for.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

GONE = select.EPOLLHUP | select.EPOLLERR


class Presence:
    """All clients that are watched; `run` must be running."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Callable[[], None], Callable[[], None]]] = {}

    @contextmanager
    def watch(
        self,
        client: socket.socket,
        *,
        on_half_close: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> Iterator[None]:
        """Call *on_half_close* when *client* sends no more, *on_gone* when it cannot be reached."""
        fd = client.fileno()
        self._watched[fd] = (on_half_close, on_gone)
        self._epoll.register(fd, select.EPOLLRDHUP)
        try:
            yield
        finally:
            del self._watched[fd]
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, events in self._epoll.poll(0):
                on_half_close, on_gone = self._watched[fd]
                if events & GONE:
                    # Cannot be masked; it must not come again and again.
                    self._epoll.modify(fd, select.EPOLLET)
                    on_gone()
                else:
                    self._epoll.modify(fd, 0)
                    on_half_close()

    def close(self) -> None:
        """Close the epoll."""
        self._epoll.close()

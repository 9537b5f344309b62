"""Ending downloads from another thread: who waits for a silent connection hears nothing else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Hangup:
    """The sockets of downloads that run, until `hang_up` ends them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._done = False

    @contextlib.contextmanager
    def reaches(self, connection: socket.socket) -> Iterator[None]:
        """Have `hang_up` end *connection* for the duration of the block."""
        with self._lock:
            self._open.add(connection)
            if self._done:
                _end(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)

    def hang_up(self) -> None:
        """End every connection, also those that come later: their readers see it cut."""
        with self._lock:
            self._done = True
            for connection in self._open:
                _end(connection)


def _end(connection: socket.socket) -> None:
    # Closing it would not wake who reads; see shutdown(2).
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

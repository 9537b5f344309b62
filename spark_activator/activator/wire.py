"""One end of a conversation: a non-blocking socket that tells who is gone.

Plain sockets and trio's waits: a wait costs a system call only when the socket
is not ready, and a thousand held clients are a thousand sockets and no more.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

import trio

# One read; see http.body.
PIECE = 64 * 1024


class Gone(Exception):  # it happened, and is no error
    """The other side is not there any more."""


class ClientGone(Gone):
    """The client left: nobody is to be answered."""


class UpstreamGone(Gone):
    """The engine closed or broke the connection."""


class Cut(Gone):
    """The answer broke off, and the client was shown that it did."""


class Wire:
    """A connected socket.  Who made it closes it, by `with`."""

    __slots__ = ("_gone", "sock")

    def __init__(self, sock: socket.socket, gone: type[Gone]) -> None:
        self.sock = sock
        self._gone = gone

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.notify_closing(self.sock)
        self.sock.close()

    async def receive(self, limit: int = PIECE) -> bytes:
        """Return what has arrived, `b""` at the other side's end of file.

        Raises:
            Gone: The connection broke.
        """
        while (data := self.receive_now(limit)) is None:
            await trio.lowlevel.wait_readable(self.sock)
        return data

    def receive_now(self, limit: int = PIECE) -> bytes | None:
        """Return what `receive` would, or None where it would wait.

        Raises:
            Gone: The connection broke.
        """
        try:
            return self.sock.recv(limit)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._gone from error

    async def send_all(self, data: bytes) -> None:
        """Hand all of *data* to the kernel.

        Raises:
            Gone: The connection broke; how much arrived is unknown.
        """
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)
            except OSError as error:
                raise self._gone from error

    async def send_file(self, fd: int, offset: int, size: int) -> int:
        """Hand some of the file *fd* to the kernel, at most *size* bytes; return how many.

        Raises:
            Gone: The connection broke.
        """
        while True:
            try:
                return os.sendfile(self.sock.fileno(), fd, offset, size)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)
            except OSError as error:
                raise self._gone from error

    def send_some(self, data: bytes) -> int:
        """Hand some of *data* to the kernel, as much as it takes at once; return how much.

        Raises:
            Gone: The connection broke.
        """
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._gone from error

    def finish(self) -> None:
        """Tell the other side that nothing more comes from here."""
        with suppress(OSError):  # it may have left already
            self.sock.shutdown(socket.SHUT_WR)

    def break_off(self) -> None:
        """Have the end reset the connection, so that what was sent does not look complete."""
        reset = struct.pack("ii", 1, 0)  # see SO_LINGER in socket(7)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)

    def unread(self) -> bool:
        """Whether something has arrived that nobody will read."""
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def send_now(self, data: bytes) -> None:
        """Send what can be sent of *data* without waiting."""
        with suppress(OSError):
            self.sock.send(data)

    def hang_up(self) -> bool:
        """End the connection at once, unless something has arrived; say whether it was done."""
        if self.unread():
            return False
        with suppress(OSError):  # it may have left already
            self.sock.shutdown(socket.SHUT_RDWR)
        return True

    async def linger(self, limit: float) -> None:
        """Say the end and read on until the client has seen it, at most *limit* seconds.

        The kernel resets a connection that is closed with unread bytes in it,
        and then the client may lose the answer that it was sent.
        """
        self.finish()
        with trio.move_on_after(limit):
            with suppress(Gone):
                while await self.receive():
                    await trio.lowlevel.checkpoint()

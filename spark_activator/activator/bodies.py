"""Requests' bodies that are here whole, and how much of them there may be.

A small one is a bytes object.  A large one lies in a file of the kernel's memory
(memfd): it is written and sent in pieces, another process can be handed it, and
nothing of it is ever copied as one Python object here, which would keep all
streams of this process waiting.
"""

from __future__ import annotations

import os
from typing import Final

import trio

from spark_activator.activator import memfd
from spark_activator.activator.wire import Wire
from spark_activator.errors import Refusal

# What is decided at once, on the loop that everybody shares: the policy takes 2 ms
# for as much of a chat, 13 ms for the worst that can be sent, and 200 ms for 20 MB
# of a picture.
SMALL: Final = 64 * 1024
# Of all bodies together.  It is the host's memory, which models are short of;
# sixteen of the largest that is allowed, or a thousand with a picture each.
MOST: Final = 1 << 30
# One piece on its way to the engine: as much as its socket takes at once.
SENT_AT_ONCE: Final = 256 * 1024


class Bodies:
    """All bodies of one process: at most *most* bytes."""

    def __init__(self, most: int = MOST) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Count *size* bytes more.

        Raises:
            Refusal: They are too many.
        """
        if size > self._left:
            raise Refusal("overloaded", "more large requests wait than there is room for")
        self._left -= size

    def give_back(self, size: int) -> None:
        """Count *size* bytes less."""
        self._left += size


class Content:
    """One body.  Whoever made it closes it.

    Attributes:
        size: Its bytes.
        data: The body while it is small, else empty.
        fd: The file where it is while it is large, else -1.
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0
        self.data = b""
        self.fd = -1

    def add(self, data: bytes) -> None:
        """Append *data*.

        Raises:
            Refusal: There is no room.
        """
        self._bodies.take(len(data))
        self.size += len(data)
        if self.fd < 0 and self.size <= SMALL:
            self.data += data
            return
        try:
            if self.fd < 0:
                self.fd = memfd.create(self.data)
                self.data = b""
            memfd.append(self.fd, data)
        except OSError as error:  # descriptors or memory are short
            raise Refusal("overloaded", "no room for the request's body") from error

    async def send_file(self, upstream: Wire) -> None:
        """Send all of it that lies in a file.

        Raises:
            Gone: The engine is.
        """
        body = FileBody(self)
        while self.fd >= 0 and not body.complete:
            await body.send(upstream)

    def become(self, data: bytes) -> None:
        """Be *data* instead.

        Raises:
            Refusal: There is no room.
        """
        self.close()
        self.add(data)

    def become_file(self, fd: int) -> None:
        """Be what the file *fd* has instead, which is ours from now on."""
        self._close_file()
        self.data, self.fd = b"", fd
        self._recount(os.fstat(fd).st_size)

    def close(self) -> None:
        """Forget it."""
        self._recount(0)
        self._close_file()
        self.data = b""

    def _recount(self, size: int) -> None:
        # What the policy adds is let in: it is little, and the request was.
        self._bodies.give_back(self.size - size)
        self.size = size

    def _close_file(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class FileBody:
    """A large body on its way to the engine; an `http.body.Body` that reads no client."""

    wanted: Final = 0

    def __init__(self, content: Content) -> None:
        self._content = content
        self._sent = 0

    @property
    def complete(self) -> bool:
        """Whether all of it is sent."""
        return self._sent == self._content.size

    def feed(self, data: bytes) -> bytes:
        """Nothing comes from the client any more."""
        assert not data
        return b""

    async def send(self, upstream: Wire) -> None:
        """Send some of it.

        Raises:
            Gone: The engine is.
        """
        left = min(self._content.size - self._sent, SENT_AT_ONCE)
        self._sent += await upstream.send_file(self._content.fd, self._sent, left)
        await trio.lowlevel.checkpoint()

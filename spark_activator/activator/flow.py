"""One direction of a relay: from one socket into another through a pipe.

`Flow.pump` takes what the source has into the shared pipe with one `splice` and
gives it to the sink with another: the bytes never become Python objects.  The
shared pipe is empty again afterwards, always.  What a slow sink does not take
stays where it is: the flow keeps that pipe, and the others get a new one.  So
nobody waits for a slow reader, and a fast one holds no pipe.  Where no new pipe
can be had (descriptors run out), the pending bytes are read out instead: the
only place where they are copied, but for a flow that is *tapped*, whose bytes
are looked at (MSG_PEEK) before they are moved.

Nothing here waits, and nothing here knows of epoll: what happened comes back as
a `Change`, or None while everything goes on as it was.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

# What a pipe holds by default, and so the most that one splice can move.
PIPE_SIZE = 65536
FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Change(Enum):
    """Why other events must be waited for from now on."""

    BLOCKED = auto()  # the sink is full: read nothing until it has taken what is pending
    DRAINED = auto()  # the sink has taken it
    COMPLETE = auto()  # the limit is reached
    ENDED = auto()  # the source has sent its last byte
    SOURCE_BROKE = auto()
    SINK_BROKE = auto()


@dataclass(frozen=True, slots=True)
class Tap:
    """Who is shown what passes, and the socket that it is seen on.

    What is shown is only good until *show* returns.
    """

    source: socket.socket
    show: Callable[[bytes | memoryview], None]


class SharedPipe:
    """The pipe that all flows of a thread use in turn."""

    __slots__ = ("_glass", "read", "write")

    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._glass: memoryview | None = None

    def look(self, source: socket.socket, limit: int) -> memoryview:
        """Return what *source* has, at most *limit* bytes, and leave it there.

        Raises:
            OSError: It has nothing, or broke.
        """
        if self._glass is None:
            self._glass = memoryview(bytearray(PIPE_SIZE))
        return self._glass[: source.recv_into(self._glass, limit, socket.MSG_PEEK)]

    def replace(self) -> tuple[int, int]:
        """Hand out this pipe with what is in it, and go on with a new one.

        Raises:
            OSError: There is no new one; nothing has changed.
        """
        full = self.read, self.write
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return full

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read)
        os.close(self.write)


class Flow:
    """At most *left* more bytes from *source* to *sink*, both non-blocking.

    Attributes:
        moved: Bytes that the sink has taken.
        pending: Bytes that were read and not yet taken; `pump` only while it is 0.
    """

    __slots__ = ("_held", "_pipe", "_tap", "left", "moved", "pending", "sink", "source")

    def __init__(self, source: int, sink: int, left: int, tap: Tap | None = None) -> None:
        self.source, self.sink, self.left = source, sink, left
        self._tap = tap
        self.moved = 0
        self.pending = 0
        self._pipe: tuple[int, int] | None = None  # where the pending bytes are,
        self._held = b""  # or here, when no pipe could be had

    def pump(self, pipe: SharedPipe) -> Change | None:
        """Move what the source has now, at most one pipe full."""
        if not self.left:
            # It has nothing more to say that we would pass on: what woke us is its end.
            return Change.ENDED
        limit = min(PIPE_SIZE, self.left)
        seen = None
        try:
            if self._tap is not None:
                seen = pipe.look(self._tap.source, limit)
                limit = len(seen)  # what comes in between is seen the next time
            size = os.splice(self.source, pipe.write, limit, flags=FLAGS) if limit else 0
        except BlockingIOError:
            return None
        except OSError:
            return Change.SOURCE_BROKE
        if not size:
            return Change.ENDED
        self.left -= size
        if self._tap is not None and seen is not None:
            self._tap.show(seen[:size])
        try:
            rest = size - os.splice(pipe.read, self.sink, size, flags=FLAGS)
        except BlockingIOError:
            rest = size
        except OSError:
            os.read(pipe.read, size)  # whoever comes next must find it empty
            return Change.SINK_BROKE
        self.moved += size - rest
        if rest:
            self._keep(pipe, rest)
            return Change.BLOCKED
        return None if self.left else Change.COMPLETE

    def drain(self) -> Change | None:
        """Give the sink more of what is pending."""
        try:
            if self._pipe is not None:
                sent = os.splice(self._pipe[0], self.sink, self.pending, flags=FLAGS)
            else:
                sent = os.write(self.sink, self._held)
                self._held = self._held[sent:]
        except BlockingIOError:
            return None
        except OSError:
            self.drop()
            return Change.SINK_BROKE
        self.moved += sent
        self.pending -= sent
        if self.pending:
            return None
        self.drop()
        return Change.DRAINED

    def drop(self) -> None:
        """Forget what is pending."""
        if self._pipe is not None:
            os.close(self._pipe[0])
            os.close(self._pipe[1])
        self._pipe, self._held, self.pending = None, b"", 0

    def _keep(self, pipe: SharedPipe, pending: int) -> None:
        self.pending = pending
        try:
            self._pipe = pipe.replace()
        except OSError:
            self._held = os.read(pipe.read, pending)

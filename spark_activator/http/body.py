"""The body of a request on its way to the engine, whole pieces only.

Knows where the body ends, so that what a client sends after it goes nowhere.
Chunks are taken apart and made anew: extensions, trailers and odd sizes end
here.  They are read as strictly as heads are, since proxies and servers disagree
about them as much (a LF alone, a CR in an extension, nothing behind the data).
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, Protocol

from spark_activator.errors import Refusal
from spark_activator.http.head import Head

# nginx lets the same through.  A request with images has some MB.
MAX_BODY: Final = 64 * 1024 * 1024


class Body(Protocol):
    """What is left of one request's body."""

    @property
    def complete(self) -> bool:
        """Whether all of it was fed."""

    @property
    def wanted(self) -> int:
        """How many bytes to read next, at most; 0 when complete."""

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent; return what the engine gets.

        Raises:
            Refusal: It is broken or too large.
        """

    def content(self, data: bytes) -> bytes:
        """Take what the client sent; return it without its framing.

        Raises:
            Refusal: It is broken or too large.
        """


# One read.  Larger ones only make the first byte wait.
_PIECE: Final = 64 * 1024
# Of chunks, which may have one byte each: taking so many apart takes 20 ms, and
# nobody else is served meanwhile.
_CHUNKED_PIECE: Final = 8 * 1024


class Sized:
    """A body with a length.  What is fed beyond it is dropped."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def complete(self) -> bool:
        """Whether all of it was fed."""
        return self._left == 0

    @property
    def wanted(self) -> int:
        """How many bytes to read next, at most: never into what follows the body."""
        return min(self._left, _PIECE)

    def feed(self, data: bytes) -> bytes:
        """Return *data* up to the body's end."""
        taken = data[: self._left]
        self._left -= len(taken)
        return taken

    content = feed


# Sixteen digits are more than any body has; what is beyond is somebody's overflow.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
# Of a chunk's size with its extensions, and of a field behind the last chunk.
_LONGEST_LINE: Final = 4 * 1024
_MOST_TRAILERS: Final = 100


class _Next(Enum):
    """What comes next in a chunked body."""

    SIZE = auto()
    DATA = auto()
    END_OF_DATA = auto()
    TRAILER = auto()


class Chunked:
    """A body that says itself where it ends."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._next = _Next.SIZE
        self._left = 0  # of the chunk
        self._size = 0  # of the body so far
        self._trailers = 0
        self.complete = False

    @property
    def wanted(self) -> int:
        """How many bytes to read next, at most."""
        return 0 if self.complete else _CHUNKED_PIECE

    def feed(self, data: bytes) -> bytes:
        """Return what *data* has of the body, in chunks of our own."""
        return b"" if self.complete else self._framed(self.content(data))

    def _framed(self, content: bytes) -> bytes:
        chunk = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
        return chunk + (b"0\r\n\r\n" if self.complete else b"")

    def content(self, data: bytes) -> bytes:
        """Return what *data* has of the body."""
        if not self.complete:
            self._unread += data
        return b"".join(iter(self._take, None))

    def _take(self) -> bytes | None:
        """Take one piece of the content, or some framing; None when more must come."""
        if self._next is _Next.DATA:
            piece = bytes(self._unread[: self._left])
            del self._unread[: self._left]
            self._left -= len(piece)
            if not self._left:
                self._next = _Next.END_OF_DATA
            return piece or None
        line = None if self.complete else self._line()
        if line is None:
            return None
        if self._next is _Next.SIZE:
            self._begin(line)
        elif self._next is _Next.END_OF_DATA:
            if line:
                raise _broken()
            self._next = _Next.SIZE
        else:
            self._trailer(line)
        return b""

    def _line(self) -> bytes | None:
        end = self._unread.find(b"\n", 0, _LONGEST_LINE)
        if end < 0:
            # Whoever waits for the rest of nonsense would wait for nothing.
            begun = self._unread[:_LONGEST_LINE].rstrip(b"\r")
            strays = b"\r" in begun or (begun and self._next is _Next.END_OF_DATA)
            if strays or len(self._unread) >= _LONGEST_LINE:
                raise _broken()
            return None
        line = bytes(self._unread[: end + 1])
        if not line.endswith(b"\r\n"):
            raise _broken()
        del self._unread[: end + 1]
        return line[:-2]

    def _begin(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise _broken()
        self._left = int(match[1], 16)
        self._size += self._left
        if self._size > MAX_BODY:
            raise _too_large()
        self._next = _Next.DATA if self._left else _Next.TRAILER

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.complete = True
            return
        self._trailers += 1
        if self._trailers > _MOST_TRAILERS or _TRAILER.fullmatch(line) is None:
            raise _broken()


def body_of(head: Head, arrived: bytes = b"") -> Body:
    """Return what will read the body of *head*.

    Args:
        head: The request's.
        arrived: What came behind it; still to be fed.

    Raises:
        Refusal: It says that it is too large, or *arrived* is broken.
    """
    if head.length is None:
        # Whoever begins with nonsense wakes nothing.
        Chunked().feed(arrived)
        return Chunked()
    if head.length > MAX_BODY:
        raise _too_large()
    return Sized(head.length)


def _broken() -> Refusal:
    return Refusal("invalid_request", "the request's chunks are broken")


def _too_large() -> Refusal:
    return Refusal("body_too_large", f"the request's body has more than {MAX_BODY} bytes")

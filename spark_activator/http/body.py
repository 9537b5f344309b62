"""The body of a request on its way to the engine, whole pieces only.

Knows where the body ends, so that what a client sends after it goes nowhere.
Chunks are taken apart by h11 and made anew: extensions, trailers and odd sizes
end here.
"""

from __future__ import annotations

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


class Chunked:
    """A body that says itself where it ends."""

    def __init__(self) -> None:
        # Few clients send chunks, and the import takes as long as half of our own.
        import h11

        self._h11 = h11
        self._connection = h11.Connection(h11.SERVER)
        # h11 reads bodies only after heads.  This one stands for the one that
        # was read already, more strictly.
        self._connection.receive_data(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._connection.next_event()
        self._size = 0
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
        if self.complete or not data:
            return b""
        pieces = []
        try:
            self._connection.receive_data(data)
            while not self.complete:
                event = self._connection.next_event()
                if isinstance(event, self._h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, self._h11.EndOfMessage):
                    self.complete = True
                else:
                    break
        except self._h11.RemoteProtocolError as error:
            raise Refusal("invalid_request", "the request's chunks are broken") from error
        content = b"".join(pieces)
        self._size += len(content)
        if self._size > MAX_BODY:
            raise _too_large()
        return content


def body_of(head: Head) -> Body:
    """Return what will read the body of *head*.

    Raises:
        Refusal: It says that it is too large.
    """
    if head.length is None:
        return Chunked()
    if head.length > MAX_BODY:
        raise _too_large()
    return Sized(head.length)


def _too_large() -> Refusal:
    return Refusal("body_too_large", f"the request's body has more than {MAX_BODY} bytes")

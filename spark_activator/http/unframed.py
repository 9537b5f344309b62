"""The body of an engine's answer, taken out of its framing, for a stream that has another one."""

from __future__ import annotations

from typing import Any, Final

# Chunks are taken apart by h11, which reads bodies only after heads: these stand
# for the ones that were read already.
_ASKED: Final = [("host", "localhost")]
_HEAD: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class BrokenBody(Exception):  # the caller decides what it means
    """The body is not what its head announced, or ended before it was complete."""


class Unframed:
    """One answer's body.

    Args:
        length: Its announced length, or None.
        chunked: Whether it is in chunks; else without a length it ends with the connection.

    Attributes:
        complete: Whether all of it was fed.
    """

    def __init__(self, length: int | None, *, chunked: bool) -> None:
        self._left = length
        self._chunks = _Chunks() if chunked else None
        self.complete = length == 0

    def feed(self, data: bytes) -> bytes:
        """Take what the engine sent, `b""` at its end of file; return what of that is body.

        Raises:
            BrokenBody: It is no body like that.
        """
        if self._chunks is not None:
            content = self._chunks.feed(data)
            self.complete = self._chunks.complete
            return content
        if not data:
            if self._left:
                raise BrokenBody
            self.complete = True
        if self._left is None:
            return data
        content = data[: self._left]
        self._left -= len(content)
        self.complete = self._left == 0
        return content


class _Chunks:
    def __init__(self) -> None:
        # Few answers are framed anew, and the import takes as long as half of our own.
        import h11

        self._h11 = h11
        self._connection: Any = h11.Connection(h11.CLIENT)
        self._connection.send(h11.Request(method="GET", target="/", headers=_ASKED))
        self._connection.send(h11.EndOfMessage())
        self._connection.receive_data(_HEAD)
        self._connection.next_event()
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        try:
            self._connection.receive_data(data)
            while (event := self._connection.next_event()) is not self._h11.NEED_DATA:
                if isinstance(event, self._h11.Data):
                    pieces.append(bytes(event.data))
                    continue
                self.complete = isinstance(event, self._h11.EndOfMessage)
                break
        except self._h11.RemoteProtocolError as error:
            raise BrokenBody from error
        return b"".join(pieces)

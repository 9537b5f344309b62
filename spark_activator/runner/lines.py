"""Lines from a stream, bounded."""

from __future__ import annotations

import trio

# One read takes what is there; most lines are below 300 bytes.
CHUNK = 16384


class LineTooLong(ValueError):
    """The other side sent a line longer than it may be; there is no telling what follows."""


class LineReader:
    """Reads lines of at most *longest* bytes, newline included, from *stream*."""

    def __init__(self, stream: trio.abc.ReceiveStream, longest: int) -> None:
        self._stream = stream
        self._longest = longest
        self._buffer = bytearray()

    async def read(self) -> bytes | None:
        """Return the next line without its newline, None at the end of the stream.

        Raises:
            LineTooLong: It is.
        """
        while True:
            end = self._buffer.find(b"\n", 0, self._longest)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return line
            if len(self._buffer) >= self._longest:
                raise LineTooLong(f"expected a line of at most {self._longest} bytes")
            data = await self._stream.receive_some(CHUNK)
            if not data:
                return None
            self._buffer += data

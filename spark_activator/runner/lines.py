"""Lines from a stream, bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import trio

# One read takes what is there; most lines are below 300 bytes.
CHUNK = 16384
# What an engine logs can be a whole prompt, or no text at all; a longer line is
# several.  As long as a line of the protocol between activator and runner.
LONGEST_LOGGED = 8192


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


class LogLines:
    """Cuts what an engine prints into lines of text; blank ones are left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes | bytearray) -> Iterator[str]:
        """Take in the next piece and return the lines that it completes."""
        # Progress bars rewrite their line; each version of it is news.
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        whole = len(self._rest) // LONGEST_LOGGED * LONGEST_LOGGED
        lines, self._rest = [*lines, self._rest[:whole]], self._rest[whole:]
        for line in lines:
            yield from _texts(line)

    def end(self) -> Iterator[str]:
        """Return what was printed last, where its line was not ended."""
        rest, self._rest = self._rest, b""
        yield from _texts(rest)


def not_heard(heard: Sequence[str], end: Sequence[str]) -> Sequence[str]:
    """Return what of a log's *end* is missing at the end of what was *heard* of it."""
    for known in range(len(end), 0, -1):
        if list(heard[-known:]) == list(end[:known]):
            return end[known:]
    return end


def _texts(line: bytes) -> Iterator[str]:
    for start in range(0, len(line), LONGEST_LOGGED):
        text = line[start : start + LONGEST_LOGGED].decode("utf-8", "replace")
        if text.strip():
            yield text

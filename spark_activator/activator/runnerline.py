"""One connection to the runner: lines in, lines out, both bounded."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from spark_activator.activator import unixsocket
from spark_activator.protocol import MAX_LINE, FromActivator, FromRunner, Hello, ProtocolError
from spark_activator.protocol_json import decode_from_runner, encode

# The runner reads a line within milliseconds; one that does not is broken.
SEND_LIMIT = 5.0
# systemd owns the socket, so that it is there even while the runner is not.  It
# is away only while its unit restarts.
CONNECT_LIMIT = 5.0
CONNECT_PAUSE = 0.1


class RunnerLost(Exception):  # it happened, and is no error
    """The connection ended without a word, or with one that is not in the protocol."""


class RunnerLine:
    """Closed when its block is left; that is the end of the demand."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = bytearray()
        self._sending = trio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Connect to the runner that listens at *path*, trying again for a moment.

        Raises:
            OSError: There is none.
        """
        deadline = trio.current_time() + CONNECT_LIMIT
        while True:
            try:
                with unixsocket.find(path.parent, path.name) as found:
                    sock = await found.connect_within(CONNECT_LIMIT)
            except OSError:
                if trio.current_time() >= deadline:
                    raise
                # Nobody tells when a socket file appears or is listened on.
                await trio.sleep(CONNECT_PAUSE)
            else:
                return cls(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await trio.aclose_forcefully(self._stream)

    async def send(self, *lines: Hello | FromActivator) -> None:
        """Send *lines* in one piece.

        Raises:
            RunnerLost: The runner is gone or does not read.
        """
        try:
            async with self._sending:
                with trio.fail_after(SEND_LIMIT):
                    await self._stream.send_all(b"".join(encode(line) for line in lines))
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            raise RunnerLost("it does not read") from error

    async def receive(self) -> FromRunner:
        """Return the next line.

        Raises:
            RunnerLost: There is none, or it is not in the protocol.
        """
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) >= MAX_LINE:
                raise RunnerLost(f"it sent a line of more than {MAX_LINE} bytes")
            try:
                data = await self._stream.receive_some(MAX_LINE)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise RunnerLost("the connection broke") from error
            if not data:
                raise RunnerLost("it closed the connection")
            self._received += data
        line = bytes(self._received[: end + 1])
        del self._received[: end + 1]
        try:
            return decode_from_runner(line)
        except ProtocolError as error:
            raise RunnerLost(f"it does not keep to the protocol: {error}") from error

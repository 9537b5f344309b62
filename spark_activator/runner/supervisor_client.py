"""The supervisor's end of one runner's connection."""

from __future__ import annotations

from collections import deque

import trio

from spark_activator.runner.supervisor_lines import MAX_ORDER, BadOrder, event

# A runner that says nothing holds a place; one line is sent at once.
FIRST_LINE_LIMIT = 5.0
# Lines that a slow runner may be behind: a load prints some hundreds.  The
# engine must never wait for a reader, so what is over is counted and left out.
BACKLOG = 1000
# How long the last lines may take once nothing more will come.
FLUSH_LIMIT = 5.0


class Client:
    """A runner: lines come in one by one, events go out without ever being waited for.

    Args:
        stream: The connection; the caller closes it.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._rest = b""
        self._events: deque[bytes] = deque()
        self._news = trio.Event()
        self._finished = False
        self._left_out = 0
        # Cancelled when the runner has gone, or another one takes over.
        self.scope = trio.CancelScope()

    async def read_line(self) -> bytes | None:
        """Return the next line, or None when the runner has gone.

        Raises:
            BadOrder: The line is too long.
        """
        while b"\n" not in self._rest:
            if len(self._rest) > MAX_ORDER:
                raise BadOrder(f"expected a line of at most {MAX_ORDER} bytes")
            try:
                data = await self._stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def say(self, name: str, **values: object) -> None:
        """Send an event, in its turn."""
        if self._left_out and len(self._events) < BACKLOG:
            self._push(event("log", line=f"[{self._left_out} lines were left out]"))
            self._left_out = 0
        if name == "log" and len(self._events) >= BACKLOG:
            self._left_out += 1
        else:
            self._push(event(name, **values))

    def finish(self) -> None:
        """Let the connection end when everything said was sent, or soon anyhow."""
        self._finished = True
        self.scope.deadline = trio.current_time() + FLUSH_LIMIT
        self._news.set()

    async def send_events(self) -> None:
        """Send what is said until `finish`, or until the runner has gone."""
        try:
            while True:
                while self._events:
                    await self._stream.send_all(self._events.popleft())
                if self._finished:
                    return
                self._news = trio.Event()
                await self._news.wait()
        except trio.BrokenResourceError:
            return

    def _push(self, line: bytes) -> None:
        self._events.append(line)
        self._news.set()

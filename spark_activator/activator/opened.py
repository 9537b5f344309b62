"""Streams that were opened before their answer is there, and what is told in them.

One task tells all of them, whoever they wait for.  What a client does not take at
once is not waited for: it has not read what came before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import trio

from spark_activator.activator.stall import STALL_LIMIT
from spark_activator.activator.wire import ClientGone, Gone, Wire
from spark_activator.activator.words import boottime, situation
from spark_activator.http.answers import with_fields
from spark_activator.http.signs import Failure, Voice
from spark_activator.protocol import FromRunner

# Quick failures keep their honest status, and clients wait longer than this.
GRACE: Final = 25.0
# The shortest timers that clients have between two bytes are of 30 s.
PAUSE: Final = 10.0
# News come faster than that, but a person does not read faster.
NEWS_PAUSE: Final = 1.0
# Between two turns of the loop, so that a thousand streams keep nobody waiting.
TOLD_AT_ONCE: Final = 64


class Herald:
    """Tells in all opened streams how things are; `run` must be running."""

    def __init__(self, line: Callable[[], FromRunner | None]) -> None:
        self._line = line
        self._streams: dict[Opened, None] = {}
        self._some = trio.Event()

    @property
    def news(self) -> str:
        """How things are, in words."""
        line = self._line()
        return "asking for the model" if line is None else situation(line, boottime())

    @contextmanager
    def telling(self, stream: Opened) -> Iterator[None]:
        """Tell in *stream* for the duration of the block, in which nobody else may write to it."""
        self._streams[stream] = None
        self._some.set()
        try:
            yield
        finally:
            del self._streams[stream]

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            if not self._streams:
                self._some = trio.Event()
                await self._some.wait()
            await trio.sleep(NEWS_PAUSE)
            news, now = self.news, trio.current_time()
            for count, stream in enumerate(list(self._streams), 1):
                if stream in self._streams:
                    stream.tell(news, now)
                if count % TOLD_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()


class Opened:
    """One stream of events to a client, begun by us.

    Args:
        client: Who reads it.
        voice: How the client is talked to.
        fields: Of its head, beside ours.
        herald: Knows what to say.

    Attributes:
        chunked: How it is framed, see `Voice`.
    """

    def __init__(
        self, client: Wire, voice: Voice, fields: Mapping[str, str], herald: Herald
    ) -> None:
        self._client = client
        self._voice = voice
        self._herald = herald
        self._told = ""
        self._due = math.inf
        self._rest = b""  # that the client has not taken yet
        self.chunked = voice.chunked
        self._give(with_fields(voice.head(), fields))
        self.tell(herald.news, trio.current_time())

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Give signs of life for the duration of the block, in which nothing else is sent."""
        with self._herald.telling(self):
            yield

    def tell(self, news: str, now: float) -> None:
        """Say *news*, if they are news, or if it is time."""
        changed = news != self._told
        if not changed and now < self._due:
            return
        self._told, self._due = news, now + PAUSE
        if not self._rest:
            self._give(self._voice.frame(self._voice.sign(news, changed=changed)))
        else:
            self._give(b"")

    async def go_on(self, raw: bytes) -> None:
        """Send *raw*, which is framed as this stream is.

        Raises:
            ClientGone: The client is, or takes nothing any more.
        """
        rest, self._rest = self._rest, b""
        with trio.move_on_after(STALL_LIMIT) as sending:
            await self._client.send_all(rest + raw)
        if sending.cancelled_caught:
            raise ClientGone

    async def send(self, events: bytes) -> None:
        """Send *events*.

        Raises:
            ClientGone: The client is.
        """
        if events:
            await self.go_on(self._voice.frame(events))

    async def end(self) -> None:
        """Say that the stream is complete.

        Raises:
            ClientGone: The client is.
        """
        await self.go_on(self._voice.last)

    async def fail(self, failure: Failure) -> None:
        """Say what failed, and end.

        Raises:
            ClientGone: The client is.
        """
        await self.go_on(self._failed(failure))

    def fail_now(self, failure: Failure) -> None:
        """Say as much as can be said without waiting of what failed, and end."""
        with suppress(Gone):
            self._client.send_some(self._rest + self._failed(failure))

    def _failed(self, failure: Failure) -> bytes:
        return self._voice.frame(self._voice.failure(failure)) + self._voice.last

    def _give(self, data: bytes) -> None:
        data = self._rest + data
        with suppress(Gone):  # `Presence` tells whoever serves it
            self._rest = data[self._client.send_some(data) :]

"""One request that has no answer yet: how long it is held, and what its client hears."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import trio

from spark_activator.activator import opened as streams
from spark_activator.activator.desk import Desk
from spark_activator.activator.opened import Opened
from spark_activator.activator.wire import ClientGone, Wire
from spark_activator.activator.words import boottime, situation
from spark_activator.errors import Refusal
from spark_activator.http.answers import with_fields
from spark_activator.http.signs import Voice
from spark_activator.http.standing import standing
from spark_activator.protocol import Queued, Starting

T = TypeVar("T")

# SDKs and proxies give up after 300 s: they shall hear from us before.
LIMIT: Final = 270.0
# Clients are told to come back within a minute however long the load takes, so
# that they keep their place; and not more often than every five seconds.
RETRY_AFTER: Final = (5, 60)


class Hold:
    """The waits of one request for the engine, which may have to be made again.

    Args:
        client: Who waits.
        desk: What all share.
        voice: How the client is talked to in a stream; None: it gets a status alone.
        fields: Of the stream's head, beside ours.

    Attributes:
        opened: The stream, once there is one.
    """

    def __init__(
        self,
        client: Wire,
        desk: Desk,
        voice: Voice | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._desk = desk
        self._voice = voice
        self._fields = fields or {}
        self._open_at = trio.current_time() + streams.GRACE
        self.opened: Opened | None = None

    async def wait(self) -> str:
        """Wait until the engine is there, as long as the client waits; return its activation.

        Raises:
            ClientGone: It does not wait any more.
            Refusal: The engine is not coming, or not soon enough.
        """
        if (found := self._desk.demand.at_once) is not None:
            return found  # a warm model: there is nothing to watch the client for
        gone = False

        def leave() -> None:
            nonlocal gone
            gone = True
            holding.cancel()

        limit = trio.current_time() + LIMIT if self._voice is None else math.inf
        with (
            trio.CancelScope(deadline=limit) as holding,
            self._desk.presence.watch(self._client.sock, on_half_close=leave, on_gone=leave),
        ):
            return await self.until(self._desk.demand.wait_ready)
        if gone:
            raise ClientGone
        raise self._not_yet()

    async def until(self, step: Callable[[], Awaitable[T]]) -> T:
        """Return what *step* returns; signs of life are given meanwhile, once it is time.

        Args:
            step: Is cancelled and called again, and must go on where it was then.
        """
        if self._voice is None:
            return await step()
        if self.opened is None:
            with trio.move_on_at(self._open_at):
                return await step()
            # Nothing is awaited here: whoever is refused now is refused in the stream.
            self.opened = Opened(self._client, self._voice, self._fields, self._desk.herald)
        with self.opened.alive():
            return await step()

    async def give(self, events: bytes) -> None:
        """Send *events* as the whole answer, or as the rest of it.

        Raises:
            ClientGone: The client is.
        """
        assert self._voice is not None
        answer = self._voice.frame(events) + self._voice.last
        if self.opened is None:
            answer = with_fields(self._voice.head(), self._fields) + answer
            await self._client.send_all(answer)
        else:
            await self.opened.go_on(answer)

    def _not_yet(self) -> Refusal:
        line, now = self._desk.demand.line, boottime()
        eta = line.eta if isinstance(line, Queued | Starting) else None
        if isinstance(line, Queued) and line.due is not None:
            eta = line.due - now
        wait = None if eta is None else int(min(max(eta, RETRY_AFTER[0]), RETRY_AFTER[1]))
        return Refusal(
            "model_loading",
            f"the model is not ready yet ({situation(line, now)})",
            retry_after=wait,
            headers=standing(line, now),
        )

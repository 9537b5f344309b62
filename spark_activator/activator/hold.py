"""One request that is held: how long, and what its client hears meanwhile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import trio

from spark_activator.activator import opened as streams
from spark_activator.activator.desk import Desk
from spark_activator.activator.opened import Opened
from spark_activator.activator.wire import ClientGone, Wire
from spark_activator.activator.words import situation
from spark_activator.errors import Refusal
from spark_activator.http.signs import Voice
from spark_activator.protocol import Queued, Starting

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
            if self._voice is None:
                return await self._desk.demand.wait_ready()
            return await self._wait_in_stream(self._voice)
        if gone:
            raise ClientGone
        raise self._not_yet()

    async def _wait_in_stream(self, voice: Voice) -> str:
        demand = self._desk.demand
        if self.opened is None:
            with trio.move_on_at(self._open_at):
                return await demand.wait_ready()
            # Nothing is awaited here: whoever is refused now is refused in the stream.
            self.opened = Opened(self._client, voice, self._fields, self._desk.herald)
        with self.opened.alive():
            return await demand.wait_ready()

    def _not_yet(self) -> Refusal:
        line = self._desk.demand.line
        eta = line.eta if isinstance(line, Queued | Starting) else None
        wait = None if eta is None else int(min(max(eta, RETRY_AFTER[0]), RETRY_AFTER[1]))
        return Refusal(
            "model_loading", f"the model is not ready yet ({situation(line)})", retry_after=wait
        )

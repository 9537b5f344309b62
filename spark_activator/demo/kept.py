"""Responses that are kept: to be fetched by id, and cancelled while they run in the background.

vLLM does the same with VLLM_ENABLE_RESPONSES_API_STORE=1, and forgets them all
when it ends; so do we.
"""

from __future__ import annotations

from collections import OrderedDict

import trio

from spark_activator.demo.asked import Asked, BadRequest
from spark_activator.demo.connection import Connection, CutShort
from spark_activator.demo.generation import Generation
from spark_activator.demo.responses import Events
from spark_activator.demo.shapes import dump

# Older ones are forgotten.
MOST_KEPT = 256


class _Kept:
    def __init__(self, events: Events, status: str) -> None:
        self.events = events
        self.status = status
        self.running: trio.CancelScope | None = None

    def written(self) -> bytes:
        return dump(self.events.response(self.status))


class Responses:
    """The responses of one engine.

    Args:
        generation: Who generates what runs in the background.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def keep(self, events: Events) -> None:
        """Keep a response that was given to its end."""
        self._add(_Kept(events, events.ended))

    async def begin(
        self, client: Connection, asked: Asked, events: Events, nursery: trio.Nursery
    ) -> None:
        """Generate in *nursery* and answer at once.

        Raises:
            ClientGone: Nobody is there any more.
        """
        kept = _Kept(events, "queued")
        self._add(kept)
        nursery.start_soon(self._run, asked, kept)
        await client.answer(200, kept.written())

    async def look(self, client: Connection, name: str) -> None:
        """Answer with the response of that *name*.

        Raises:
            BadRequest: There is none.
        """
        await client.answer(200, self._find(name).written())

    async def cancel(self, client: Connection, name: str) -> None:
        """Cancel the response of that *name* and answer with it.

        Raises:
            BadRequest: There is none, or it does not run any more.
        """
        kept = self._find(name)
        if kept.status not in ("queued", "in_progress"):
            raise BadRequest("Cannot cancel a synchronous response.")
        kept.status = "cancelled"
        if kept.running is not None:
            kept.running.cancel()
        await client.answer(200, kept.written())

    async def _run(self, asked: Asked, kept: _Kept) -> None:
        with trio.CancelScope() as kept.running:
            try:
                async with self._generation.turn() as turn:
                    kept.status = "in_progress"
                    await self._generation.pace(asked, turn).to_end()
                    turn.ended = "length" if asked.reason == "length" else "stop"
                    kept.status = kept.events.ended
            except (BadRequest, CutShort):
                kept.status = "failed"

    def _add(self, kept: _Kept) -> None:
        self._kept[kept.events.id] = kept
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def _find(self, name: str) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            raise BadRequest(f"Response with id '{name}' not found.", status=404)
        return kept

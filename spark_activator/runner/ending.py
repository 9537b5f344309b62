"""Why one activation ends: the first reason that anybody tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

import trio

from spark_activator.errors import EngineFailed


class Why(StrEnum):
    """The reasons."""

    NOBODY = "nobody wants it"
    YIELD = "another model waits"
    OPERATOR = "stopped by hand"
    TERMINATED = "the runner was told to stop"
    EXITED = "the engine ended"
    FAILED = "the start failed"


class Ending:
    """Told once; later reasons are not heard.

    Attributes:
        why: The reason, None until it is told.
        words: More of it, for people.
        failure: What to tell clients, where it failed.

    Args:
        on_told: Called in the same moment, before anybody else can look.
    """

    def __init__(self, on_told: Callable[[], None]) -> None:
        self.why: Why | None = None
        self.words = ""
        self.failure: EngineFailed | None = None
        self._on_told = on_told
        self._told = trio.Event()

    def tell(self, why: Why, words: str = "", failure: EngineFailed | None = None) -> None:
        """Say why it ends."""
        if self.why is None:
            self.why, self.words, self.failure = why, words or str(why), failure
            self._on_told()
            self._told.set()

    def explain(self, told: EngineFailed, better: EngineFailed) -> None:
        """Say more of the failure *told*, where that is why it ends."""
        if self.failure is told:
            self.words, self.failure = better.message, better

    async def run(
        self, main: Callable[[], Awaitable[None]], *watchers: Callable[[], Awaitable[None]]
    ) -> None:
        """Run until *main* is done or the ending is told; then cancel whatever still runs.

        An `EngineFailed` of one of them is the ending.
        """

        async def guarded(task: Callable[[], Awaitable[None]]) -> None:
            try:
                await task()
            except EngineFailed as failure:
                self.tell(Why.FAILED, failure.message, failure)

        async def until_told() -> None:
            await self._told.wait()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_told)
            for task in watchers:
                nursery.start_soon(guarded, task)
            await guarded(main)
            nursery.cancel_scope.cancel()

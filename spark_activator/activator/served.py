"""Who is served: the places that the engine has, and when none is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


class Served:
    """Requests that the engine has now.

    Args:
        most: How many it may have at once; None is no limit.
        freed: Called when one has ended while all places were taken.

    Attributes:
        count: How many there are.
    """

    def __init__(self, most: int | None, freed: Callable[[], None]) -> None:
        self._most = math.inf if most is None else most
        self._freed = freed
        self.count = 0
        self._none = trio.Event()

    @property
    def full(self) -> bool:
        """Whether the engine has as many requests as it may have."""
        return self.count >= self._most

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place for the duration of the block."""
        self.count += 1
        try:
            yield
        finally:
            was_full = self.full
            self.count -= 1
            if not self.count:
                self._none.set()
            if was_full:
                self._freed()

    async def wait_none(self) -> None:
        """Wait until the engine has none."""
        while self.count:
            self._none = trio.Event()
            await self._none.wait()

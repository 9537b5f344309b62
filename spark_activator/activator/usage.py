"""What API keys have had, until the runner is told: it may write, we may not."""

from __future__ import annotations

import math
from typing import Final

from spark_activator.protocol import USAGE_KEYS, Usage

# Between two reports; so much is lost when a process is killed.
PAUSE: Final = 2.0


class Counter:
    """Requests and tokens by key."""

    def __init__(self) -> None:
        self._counts: Usage = {}
        self._told_at = -math.inf

    @property
    def due_at(self) -> float:
        """When the runner should hear, on trio's clock; `inf` while there is nothing."""
        return self._told_at + PAUSE if self._counts else math.inf

    def add(self, key: str, sent: int, got: int, *, requests: int = 1) -> None:
        """Count a request of *key* with so many tokens sent, and got."""
        before = self._counts.get(key, (0, 0, 0))
        self._counts[key] = (before[0] + requests, before[1] + sent, before[2] + got)

    def take(self, now: float) -> Usage | None:
        """Take out what fits into one line; None where there is nothing."""
        if not self._counts:
            return None
        taken = {name: self._counts.pop(name) for name in list(self._counts)[:USAGE_KEYS]}
        if not self._counts:
            self._told_at = now
        return taken

    def give_back(self, usage: Usage) -> None:
        """Take back what could not be told."""
        for key, (requests, sent, got) in usage.items():
            self.add(key, sent, got, requests=requests)

"""Simulated time, and the lock at which starts and stops take turns."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """Events in their order, and `init.lock`.

    Attributes:
        now: Seconds.
        switching: Seconds of starts and stops so far.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.switching = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._init: list[tuple[object, float, Callable[[], None], Callable[[], None]]] = []
        self._initialising: object = None
        self._job = 0

    def at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._number), act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at(self.now + seconds, act)

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self.check()
        self.now = max(self.now, until)

    def check(self) -> None:
        """Look at the world after each event."""

    def initialise(
        self,
        owner: object,
        seconds: float,
        begin: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        """Hold `init.lock` for *seconds*, when those before have let it go."""
        # A start that is given up ends here and now, for its own stop.
        self._init = [job for job in self._init if job[0] is not owner]
        if self._initialising is owner:
            self._initialising = None
        self._init.append((owner, seconds, begin, end))
        if self._initialising is None:
            self._next_initialise()

    def _next_initialise(self) -> None:
        self._initialising = None
        self._job += 1
        if not self._init:
            return
        owner, seconds, begin, end = self._init.pop(0)
        self._initialising, job = owner, self._job
        self.switching += seconds

        def finish() -> None:
            if self._job == job:
                self._initialising = None
                end()
                if self._initialising is None:
                    self._next_initialise()

        begin()
        self.after(seconds, finish)

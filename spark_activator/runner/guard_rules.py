"""When a load has to be ended before the host wedges: decided from readings alone."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

# A load that took exactly what it may leaves the host at its floor, where what a
# running host takes and gives anyway (see `memory.SLACK_LEAST`) must not end it;
# of a small floor a thirty-second part, so that most of it stays.
NOISE_MOST = 256 << 20
NOISE_SHARE = 32
# A wedge takes tens of seconds to build up, and a burst of reclaim is over in
# one or two: four seconds tell them apart, and leave time to act.
WINDOW = 4.0
# "Most of the time": nothing that could run did so for more than half of it.
STALLED_SHARE = 0.5


class Danger(StrEnum):
    """Why a load is ended."""

    FLOOR = "the host's memory went below its floor"
    PRESSURE = "nothing on the host could go on for want of memory"


class Judge:
    """Takes in readings, and says when it is time.  Times come in as arguments.

    Args:
        floor: Bytes that have to stay available.
    """

    def __init__(self, floor: int) -> None:
        self._least = floor - min(NOISE_MOST, floor // NOISE_SHARE)
        self._stalls: deque[tuple[float, float]] = deque()

    def danger(self, available: int, stalled: float | None, now: float) -> Danger | None:
        """Take in one reading; *stalled* counts seconds, None where the kernel does not."""
        if available < self._least:
            return Danger.FLOOR
        if stalled is None:
            return None
        self._stalls.append((now, stalled))
        while len(self._stalls) > 1 and self._stalls[1][0] <= now - WINDOW:
            self._stalls.popleft()
        since, before = self._stalls[0]
        if now - since < WINDOW:
            return None
        return Danger.PRESSURE if stalled - before > STALLED_SHARE * (now - since) else None

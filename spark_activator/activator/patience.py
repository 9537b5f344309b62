"""How long a runner is believed in that says nothing, or ends again and again.

systemd owns the runner's socket.  So a connection to a runner that crashes at
each start is neither refused nor ended: it waits in the backlog of a socket
from which nobody accepts, and only time tells.  Whoever accepts says a line
within milliseconds.

Seconds are the caller's, monotonic.
"""

from __future__ import annotations

import math
from typing import Final

# A runner starts in 0.3 to 1 s, and 5 s later where systemd tries less and less
# often (units/v254).  Twice that and some more, for a machine that is loading
# another model.
SILENCE_LIMIT: Final = 15.0
# A runner that ends ten times in a row right after a connect will not stay the
# eleventh time; with the pauses between this is five seconds.
LOST_LIMIT: Final = 10
LOST_PAUSE: Final = 0.1
# One that was there this long did not end because of what it was asked.
STEADY: Final = 10.0


class Patience:
    """Judges one runner; every connection to it is reported here.

    Attributes:
        deadline: When a runner that has said nothing is given up.
    """

    def __init__(self) -> None:
        self.deadline = math.inf
        self._silent = False
        self._stopping = False
        self._losses = 0
        self._opened = -math.inf

    def opened(self, now: float) -> None:
        """Note that a connection is being made."""
        self._opened = now
        if self._stopping:
            # It ends its engine before the next runner begins: as long as it takes.
            self._stopping, self._silent, self.deadline = False, False, math.inf
        elif not self._silent:
            self._silent, self.deadline = True, now + SILENCE_LIMIT

    def heard(self, *, stopping: bool) -> None:
        """Note a line; *stopping* is its way to say that the engine goes."""
        self._silent, self.deadline = False, math.inf
        self._stopping = stopping

    def kept(self) -> None:
        """Note that a connection ended as the protocol has it."""
        self._losses = 0

    def lost(self, now: float) -> None:
        """Note that a connection ended otherwise."""
        self._losses = 1 if now - self._opened >= STEADY else self._losses + 1

    def exhausted(self, now: float) -> bool:
        """Whether to give up for now."""
        return self._losses >= LOST_LIMIT or now >= self.deadline

    @property
    def next_at(self) -> float:
        """When to connect again: never in a tight loop, whatever the runner does."""
        return self._opened + LOST_PAUSE * max(1, self._losses)

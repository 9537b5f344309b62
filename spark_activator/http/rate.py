"""How slowly a client may send its body: a bucket of seconds, without a clock of its own.

Waiting for the client empties the bucket, what it sends fills it.  Who stalls
for as long as the bucket holds, or drips, is told so; who is kept waiting by the
engine loses nothing.
"""

from __future__ import annotations

from typing import Final

# A client that sends nothing for a minute has lost its connection.
BUCKET: Final = 60.0
# Less than any network has, a dial-up line's included.  The largest body that is
# taken (MAX_BODY) can still take 18 hours: as long as its client works for it.
PER_SECOND: Final = 1024


class Pace:
    """One body's.

    Attributes:
        patience: How long the next piece may be waited for, in seconds.
    """

    __slots__ = ("patience",)

    def __init__(self) -> None:
        self.patience = BUCKET

    def received(self, size: int, waited: float) -> None:
        """Note *size* bytes, for which *waited* seconds passed."""
        self.patience = min(BUCKET, max(0.0, self.patience - waited) + size / PER_SECOND)

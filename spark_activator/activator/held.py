"""Those who wait for the engine, and what they are told."""

from __future__ import annotations

from collections.abc import Callable

import trio

from spark_activator.errors import Refusal


class _Outcome:
    """What those who wait now will be told, once; no refusal when the engine is there."""

    def __init__(self) -> None:
        self.known = trio.Event()
        self.refusal: Refusal | None = None
        self.waiting = 0


class Held:
    """All requests that are held.  A thousand are a thousand waits for one event."""

    def __init__(self) -> None:
        self._outcome = _Outcome()
        self._closed: Refusal | None = None

    @property
    def count(self) -> int:
        """How many there are; none at once after `look` and `refuse`."""
        return self._outcome.waiting

    async def wait(self, activation: Callable[[], str | None], want: Callable[[], None]) -> str:
        """Return what *activation* returns once that is something.

        Args:
            activation: Says which engine is there now.
            want: Called before each wait.

        Raises:
            Refusal: It was said meanwhile that there will be none.
        """
        while (found := activation()) is None:
            if self._closed is not None:
                raise _copy(self._closed)
            outcome = self._outcome
            outcome.waiting += 1
            try:
                want()
                await outcome.known.wait()
            finally:
                outcome.waiting -= 1
            if outcome.refusal is not None:
                raise _copy(outcome.refusal)
        return found

    def look(self) -> None:
        """Have all see whether the engine is there."""
        self._settle(None)

    def refuse(self, refusal: Refusal) -> None:
        """Refuse all who are held now."""
        self._settle(refusal)

    def close(self, refusal: Refusal) -> None:
        """Refuse all who are held and all who come."""
        self._closed = refusal
        self._settle(refusal)

    def _settle(self, refusal: Refusal | None) -> None:
        outcome, self._outcome = self._outcome, _Outcome()
        outcome.refusal = refusal
        outcome.known.set()


def _copy(refusal: Refusal) -> Refusal:
    # One exception raised in a thousand tasks would collect their tracebacks.
    return Refusal(
        refusal.code,
        refusal.message,
        retry_after=refusal.retry_after,
        headers=refusal.headers,
    )

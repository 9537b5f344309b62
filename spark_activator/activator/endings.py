"""How a request that needs the engine ended: one outcome, and one line in the journal."""

from __future__ import annotations

import time
from enum import StrEnum

from spark_activator.facts import fact


class Outcome(StrEnum):
    """Every way in which a request can end, but the death of this process."""

    ANSWERED = "answered"  # by the engine, whatever its status, until it closed
    REFUSED = "refused"  # by us, with a code of `REFUSALS`
    LEFT = "left"  # the client went before its answer was complete
    CUT = "cut"  # the answer broke off, and the client could see it


class Ended:
    """What becomes of one request; the first outcome that is told counts.

    Args:
        request_id: As the client gets it, in `X-Spark-Request-Id`.
        asked: Method and path.
    """

    def __init__(self, request_id: str, asked: str) -> None:
        self._id = request_id
        self._asked = asked.replace(" ", ":")
        self._outcome: Outcome | None = None
        self._code: str | int = ""
        self._activation = ""
        self._came = _now()
        self._from = self._until = 0.0

    def tell(self, outcome: Outcome, code: str | int = "") -> None:
        """Say how it ended; *code* is the engine's status or our refusal's code."""
        if self._outcome is None:
            self._outcome, self._code = outcome, code

    def served_by(self, activation: str) -> None:
        """From now on the engine of *activation* has it."""
        self._activation, self._from = activation, _now()

    def served(self) -> None:
        """The engine does not have it any more."""
        self._until = _now()

    def line(self) -> str:
        """Return the line for the journal, with seconds; *until* is on the clock of `at`."""
        return fact(
            "request ended",
            id=self._id,
            asked=self._asked,
            outcome=self._outcome or "none",
            code=self._code,
            held=f"{(self._from or _now()) - self._came:.3f}",
            activation=self._activation,
            served=f"{self._until - self._from:.3f}",
            until=f"{self._until:.6f}",
        )


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)

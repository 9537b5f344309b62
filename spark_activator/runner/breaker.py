"""Whether a model that failed to start may be started again: the decision, and no more.

By cause.  What ran out of memory waits for more memory; what can only fail
again (a wrong flag, a missing image, missing weights) waits for a change; all
else may be tried twice, then after pauses that double.  Whatever the cause, six
failed starts a day are the most: on unified memory each can leak some.

Times are seconds of the wall clock, since a record outlives a reboot; sizes are
bytes.  A clock that was set back is mended by whoever reads a record (`mend`).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

DAY = 86400.0
# A failed start of a large model on a Spark has been seen to leave up to a few
# GiB behind: six of them are what a machine stands until somebody looks.
MOST_A_DAY = 6
# One failure may be chance (two engines that measured at once, a slow disk).
FREE_FAILURES = 1
# A minute is what clients wait anyway; six hours still try four times a day.
FIRST_PAUSE = 60.0
LONGEST_PAUSE = 6 * 3600.0
# More memory than at the failure, not merely noise: a sixteenth of what the
# model takes, and at least what a running host takes and gives all the time.
MARGIN_SHARE = 16
MARGIN_LEAST = 256 << 20
# Six of one day count; two more are kept for a person who reads the file.
KEPT = MOST_A_DAY + 2


class Cause(StrEnum):
    """Why a start failed, as far as it matters for the next."""

    MEMORY = "memory"  # the engine got less memory than it needs
    SETTINGS = "settings"  # the engine refuses its arguments
    IMAGE = "image"  # the image is not there
    WEIGHTS = "weights"  # the weights are not there
    OTHER = "other"


# These fail again until something changes.
LASTING = (Cause.SETTINGS, Cause.IMAGE, Cause.WEIGHTS)
# These are found before an engine is made: no memory can have been lost.
CHEAP_CODES = ("image_missing", "weights_missing")


@dataclass(frozen=True, slots=True)
class Failure:
    """One start that failed.

    Attributes:
        time: When.
        cause: Why.
        code: The refusal that clients got, a key of `errors.REFUSALS`.
        message: What they were told.
        fingerprint: What the start depended on: while it is the same, so is the start.
            Empty where nobody knows, which is like any.
        enough: Memory that has to be within reach before another one, 0 where it does not matter.
    """

    time: float
    cause: Cause
    code: str
    message: str
    fingerprint: str
    enough: int = 0

    @property
    def counts(self) -> bool:
        """Whether an engine was made, which is what the day's limit is about."""
        return self.code not in CHEAP_CODES


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of the last starts.

    Attributes:
        failures: The last ones, oldest first.
        streak: Failures in a row of the same start, 0 once one worked.
    """

    failures: tuple[Failure, ...] = ()
    streak: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class Open:
    """No start now.

    Attributes:
        failure: The last one.
        streak: How many there were in a row.
        until: When another is tried; None: not by time.
        of_day: Whether it is the day's limit.
    """

    failure: Failure
    streak: int
    until: float | None = None
    of_day: bool = False


def decide(record: Record, now: float, reachable: int, fingerprint: str) -> Open | None:
    """Say whether a start has to be refused.

    Args:
        record: What is known.
        now: The wall clock.
        reachable: Bytes that are available, or held by leases that could give way.
        fingerprint: What the start would depend on.
    """
    if record.empty:
        return None
    last = record.failures[-1]
    counted = [f for f in record.failures if f.counts and _age(f, now) < DAY]
    if len(counted) >= MOST_A_DAY:
        until = min(counted[-MOST_A_DAY].time, now) + DAY
        return Open(last, record.streak, until, of_day=True)
    if record.streak == 0 or last.fingerprint not in ("", fingerprint):
        return None
    if last.cause in LASTING:
        return Open(last, record.streak)
    if last.cause is Cause.MEMORY:
        return Open(last, record.streak) if reachable < last.enough else None
    until = min(last.time, now) + pause(record.streak)
    return Open(last, record.streak, until) if now < until else None


def pause(streak: int) -> float:
    """Return how long nothing is tried after *streak* failures without a known remedy."""
    if streak <= FREE_FAILURES:
        return 0.0
    doublings = min(streak - FREE_FAILURES - 1, 32)
    return min(FIRST_PAUSE * 2.0**doublings, LONGEST_PAUSE)


def enough(reachable: int, lease: int) -> int:
    """Return what has to be within reach after *reachable* was too little for a lease."""
    return reachable + max(lease // MARGIN_SHARE, MARGIN_LEAST)


def after_failure(record: Record, failure: Failure) -> Record:
    """Return the record after *failure*."""
    same = bool(record.streak) and record.failures[-1].fingerprint == failure.fingerprint
    streak = record.streak + 1 if same else 1
    # What does not count must not push out what does: only as the last it matters.
    counted = (f for f in record.failures if f.counts)
    return Record((*counted, failure)[-KEPT:], streak)


def after_success(record: Record, now: float) -> Record:
    """Return the record after a start that worked: only the day's count goes on."""
    return Record(tuple(f for f in record.failures if f.counts and _age(f, now) < DAY))


def mend(record: Record, now: float) -> Record:
    """Return the record without stamps of the future.

    A clock that was set back would make it hold for as long as that; whoever
    reads a record writes down what this returns, so that time runs from then on.
    """
    failures = tuple(replace(f, time=min(f.time, now)) for f in record.failures)
    return replace(record, failures=failures)


def unreadable(now: float) -> Record:
    """Return what a record that cannot be read stands for.

    Something failed, or there would be no file.  So the next start waits for
    the first pause, and its failure for the second; nothing is locked for good.
    """
    words = "what is known of the last starts cannot be read"
    failure = Failure(now, Cause.OTHER, "start_failed", words, "")
    return Record((failure,), FREE_FAILURES + 1)


def to_json(record: Record) -> str:
    """Write it as one line."""
    return json.dumps(asdict(record), separators=(",", ":")) + "\n"


def from_json(text: str) -> Record:
    """Read what `to_json` wrote; keys that we do not know are ignored.

    Raises:
        ValueError: It is not such a text.
    """
    try:
        body: Any = json.loads(text)
        failures = tuple(_failure(entry) for entry in body["failures"])
        streak = body["streak"]
    except (LookupError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"expected a record of starts, got {text[:80]!r}") from error
    if type(streak) is not int or not 0 <= streak < 2**31 or (streak and not failures):
        raise ValueError(f"expected a count of failures, got {streak!r}")
    return Record(failures[-KEPT:], streak)


def _failure(entry: dict[str, Any]) -> Failure:
    time, size = float(entry["time"]), int(entry.get("enough", 0))
    if not math.isfinite(time):
        raise ValueError(f"expected a time, got {time}")
    code, message, fingerprint = texts = [entry[key] for key in ("code", "message", "fingerprint")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"expected texts, got {texts!r}")
    return Failure(time, Cause(entry["cause"]), code, message, fingerprint, size)


def _age(failure: Failure, now: float) -> float:
    return max(0.0, now - failure.time)

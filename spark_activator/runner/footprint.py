"""What an engine really took, beside what its model file declares: values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# As many starts as tell how long a start takes (see `history.STARTS`): one that
# was measured beside somebody else's work is forgotten after as many.
STARTS = 5
# What an engine takes is measured on a host where others come and go.  A
# sixteenth is what the gate calls close enough, too; and of a small engine
# nothing below half a GiB can be told from what the rest of the machine does.
SLACK_SHARE = 16
SLACK_LEAST = 512 << 20
# A lease of which more than a quarter is never used keeps others out for nothing;
# below a GiB nobody would fit in what it wastes.
WASTE_SHARE = 4
WASTE_LEAST = 1 << 30


class Verdict(StrEnum):
    """How the declared memory compares with what was taken."""

    FINE = "fine"
    TOO_SMALL = "too small"
    WASTEFUL = "wasteful"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What was declared, and the most that was taken, in bytes."""

    declared: int
    took: int

    @property
    def verdict(self) -> Verdict:
        """Compare them."""
        if self.took > self.declared + max(self.declared // SLACK_SHARE, SLACK_LEAST):
            return Verdict.TOO_SMALL
        if self.declared - self.took > max(self.declared // WASTE_SHARE, WASTE_LEAST):
            return Verdict.WASTEFUL
        return Verdict.FINE

    @property
    def sentence(self) -> str:
        """Say what to do, empty where nothing is."""
        sizes = f"it took {_gib(self.took)}, and 'memory' is {_gib(self.declared)}"
        match self.verdict:
            case Verdict.TOO_SMALL:
                return f"{sizes}: raise it, or what others are given will not be there"
            case Verdict.WASTEFUL:
                return f"{sizes}: lower it, and more fits beside"
            case _:
                return ""


def learned(entries: Iterable[dict[str, Any]], config: str, declared: int) -> Footprint | None:
    """Return the footprint that the last starts with this configuration had, None without any."""
    taken = [
        int(entry["memory"])
        for entry in entries
        if entry.get("config") == config and _is_size(entry.get("memory"))
    ]
    return Footprint(declared, max(taken[-STARTS:])) if taken else None


def _is_size(value: object) -> bool:
    # A negative one is what others gave back meanwhile, not what it took.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"

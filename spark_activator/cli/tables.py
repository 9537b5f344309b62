"""Tables and spans of time, for a person at a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from spark_activator.runner import refusals


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out *rows* below *head* in columns; the last column is not padded."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def span(seconds: float) -> str:
    """Say *seconds* in the two greatest units, as systemd does: '3min 20s'."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def clock(stamp: float) -> str:
    """Say when *stamp*, of CLOCK_BOOTTIME, is on the clock on the wall."""
    return refusals.clock(stamp - time.clock_gettime(time.CLOCK_BOOTTIME))

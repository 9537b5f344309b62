"""Facts in the journal, for people and for whoever checks them afterwards.

`lease taken: memory=1073741824 at=8123.456789`: what happened, its values, and
when, in seconds of CLOCK_BOOTTIME.  The stamp is the writer's, since journald
may read two processes' lines in another order than they were written in.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

_FACT = re.compile(r"([a-z][a-z ]*): ((?:[a-z_]+=\S* )*)at=(\d+\.\d+)(?!\n)$")


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact as it was written; *at* in seconds of CLOCK_BOOTTIME."""

    what: str
    values: dict[str, str]
    at: float


def fact(what: str, **values: object) -> str:
    """Return the line that says *what* happened just now; values have no blanks."""
    said = " ".join([f"{name}={value}" for name, value in values.items()])
    space = " " if said else ""
    return f"{what}: {said}{space}at={time.clock_gettime(time.CLOCK_BOOTTIME):.6f}"


def parse(line: str) -> Fact | None:
    """Return the fact that *line* says, None where it is any other line."""
    found = _FACT.match(line)
    if found is None:
        return None
    what, values, at = found.groups()
    pairs = (value.partition("=") for value in values.split())
    return Fact(what, {name: value for name, _, value in pairs}, float(at))

"""Durations and sizes as model files write them: `20min`, `1h 30min`, `24GiB`.

A number without a unit is an error on purpose: nobody remembers whether an idle
timeout of 60 was seconds or minutes.
"""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

# Six digits of a time and twelve of a size are more than anybody means; with three
# behind the point, each is a whole number of milliseconds or at least one byte.
_COUNT = r"[0-9]{1,6}(?:\.[0-9]{1,3})?"
_TIME = rf"(?:[0-9]{{1,6}} ?ms|{_COUNT} ?(?:s|min|h|d))"
_AMOUNT = r"(?:[0-9]{1,15} ?B|[0-9]{1,12}(?:\.[0-9]{1,3})? ?(?:KiB|MiB|GiB|TiB))"
# The look-ahead asks for a digit other than 0: a deadline or a size of nothing
# would end or refuse everything.  The look-behind at the end is `$` without its
# exception for a last newline; both dialects that read this know it.
DURATION = rf"^(?=.*[1-9]){_TIME}(?: {_TIME}){{0,4}}(?!\n)$"
SIZE = rf"^(?=.*[1-9]){_AMOUNT}(?!\n)$"

_TERM = re.compile(r"([0-9.]+) ?([A-Za-z]+)")


def parse_duration(text: str) -> float:
    """Read '20min' or '1h 30min' as seconds.

    Raises:
        ValueError: It is not a duration.
    """
    if not re.search(DURATION, text):
        raise ValueError(f"expected a duration such as '20min', got {text!r}")
    # What is left below a millisecond is noise of binary fractions.
    return round(sum(float(n) * _SECONDS[unit] for n, unit in _TERM.findall(text)), 3)


def parse_size(text: str) -> int:
    """Read '24GiB' as bytes, rounded down to a whole one.

    Raises:
        ValueError: It is not a size.
    """
    found = _TERM.fullmatch(text) if re.search(SIZE, text) else None
    if not found:
        raise ValueError(f"expected a size such as '24GiB', got {text!r}")
    return int(float(found[1]) * _BYTES[found[2]])


def format_duration(seconds: float) -> str:
    """Write *seconds* as `parse_duration` reads it, in the units of a clock."""
    left = round(seconds * 1000)
    words = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        count, left = divmod(left, size)
        words += [f"{count}{unit}"] if count else []
    words += [f"{left}ms"] if left or not words else []
    return " ".join(words)


def format_size(size: int) -> str:
    """Write *size* exactly, in the largest unit that needs no fraction."""
    for unit, factor in reversed(_BYTES.items()):
        if size % factor == 0 and size >= factor:
            return f"{size // factor}{unit}"
    return f"{size}B"

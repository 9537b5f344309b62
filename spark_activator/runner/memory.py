"""Memory that is really free: before an engine is made, and after it has ended.

On unified memory the gauge is `MemAvailable`; the driver reports nothing.  A
discrete GPU would have to be asked through NVML, which is not built yet: there
the gate sees only the host's memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import trio

from spark_activator.errors import EngineFailed

GIB = 1 << 30
# What has to stay free for the host.  Below this a Spark wedges without an
# out-of-memory kill; two independent watchdogs use 6 to 8 GiB as their floor.
FLOOR = 8 * GIB
# On a smaller machine that much would leave no room for any model: there an
# eighth is kept, the share from which on 8 GiB are less (64 GiB, half a Spark).
FLOOR_SHARE = 8

# How often the gauge is read: four times a second costs nothing measurable.
READ_EVERY = 0.25
# Growth below this is the noise of a running host.
STEP = 64 << 20
# A driver gives gigabytes a second back; when nothing has come back for this
# long, nothing is coming.
PATIENCE = 5.0
# Memory that did not come back after an engine may be what others took since; a
# sixteenth of the lease is close enough to call it returned, and for a small
# engine what a running host takes and gives anyway.
SLACK_SHARE = 16
SLACK_LEAST = 256 << 20


@dataclass(frozen=True, slots=True)
class Memory:
    """One reading, in bytes."""

    total: int
    available: int

    @property
    def floor(self) -> int:
        """What a start must leave to the host."""
        return min(FLOOR, self.total // FLOOR_SHARE)


class Stall:
    """Says when a value has stopped growing.  Times come in as arguments."""

    def __init__(self, value: int, now: float) -> None:
        self._best = value
        self._moved = now

    def over(self, value: int, now: float) -> bool:
        """Take in one reading; True when none grew for `PATIENCE` seconds."""
        if value >= self._best + STEP:
            self._best, self._moved = value, now
        return now - self._moved >= PATIENCE


def read_memory(file: Path = Path("/proc/meminfo")) -> Memory:
    """Read the gauge."""
    text = file.read_text("ascii")
    found = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", text, re.MULTILINE))
    return Memory(int(found["MemTotal"]) * 1024, int(found["MemAvailable"]) * 1024)


async def wait_free(need: int) -> Memory:
    """Wait until *need* bytes fit beside the floor, as long as memory is coming back.

    Raises:
        EngineFailed: They never will, or nothing has come back for `PATIENCE` seconds.
    """
    reading = read_memory()
    if need + reading.floor > reading.total:
        raise _short(need, reading)
    stall = Stall(reading.available, trio.current_time())
    while reading.available < need + reading.floor:
        if stall.over(reading.available, trio.current_time()):
            raise _short(need, reading)
        await trio.sleep(READ_EVERY)
        reading = read_memory()
    return reading


def check_free(need: int) -> Memory:
    """Return the reading at which *need* bytes fit beside the floor right now.

    Raises:
        EngineFailed: They do not.
    """
    reading = read_memory()
    if reading.available < need + reading.floor:
        raise _short(need, reading)
    return reading


async def wait_returned(baseline: int, leased: int) -> int:
    """Wait until what an engine had is available again, as long as it is coming back.

    Args:
        baseline: Bytes that were available before it was made.
        leased: Bytes of its lease.

    Returns:
        Bytes that did not come back, 0 when enough did.
    """
    enough = baseline - max(leased // SLACK_SHARE, SLACK_LEAST)
    available = read_memory().available
    stall = Stall(available, trio.current_time())
    while available < enough and not stall.over(available, trio.current_time()):
        await trio.sleep(READ_EVERY)
        available = read_memory().available
    return max(0, enough - available)


def _short(need: int, reading: Memory) -> EngineFailed:
    return EngineFailed(
        "memory_short",
        f"the model needs {need / GIB:.1f} GiB of memory beside the {reading.floor / GIB:.1f} GiB "
        f"that stay free, and {reading.available / GIB:.1f} of {reading.total / GIB:.1f} GiB "
        "are available",
    )

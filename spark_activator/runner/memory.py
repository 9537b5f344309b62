"""Memory that is really free: measured before an engine is made, and after it has ended."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import trio

from spark_activator.catalog.host import HostSettings
from spark_activator.errors import EngineFailed
from spark_activator.runner.gpu import GpuMemory, GpuProcess, Nvml, nvml
from spark_activator.runner.memory_values import (
    GIB,
    GPU_FLOOR,
    Memory,
    Room,
    budget_of,
    floor_of,
    is_shared,
    parse_meminfo,
    parse_pressure,
)

__all__ = [
    "GIB", "Gauge", "Memory", "Owed", "Room", "Stall", "budget_of", "wait_free", "wait_returned",
]  # fmt: skip

# How often the gauge is read: four times a second costs nothing measurable.
READ_EVERY = 0.25
# Growth below this is the noise of a running host.
STEP = 64 << 20
# A driver gives gigabytes a second back; when nothing has come back for this
# long and no engine of ours has just ended, nothing is coming.
PATIENCE = 5.0
# After an engine's end the driver may unwind for a while before its memory comes
# back; reports from Sparks say up to half a minute.
UNWIND = 30.0
# Memory that did not come back after an engine may be what others took since; a
# sixteenth of the lease is close enough to call it returned, and for a small
# engine what a running host takes and gives anyway.
SLACK_SHARE = 16
SLACK_LEAST = 256 << 20

# Who has what nobody of ours and nobody on the GPU has.
OTHERS = "what is missing is neither ours nor the GPU's: other programs of this machine have it"


class Stall:
    """Says when a value has stopped growing.  Times come in as arguments."""

    def __init__(self, value: int, now: float) -> None:
        self._best = value
        self._moved = now

    def over(self, value: int, now: float, patience: float = PATIENCE) -> bool:
        """Take in one reading; True when none grew for *patience* seconds."""
        if value >= self._best + STEP:
            self._best, self._moved = value, now
        return now - self._moved >= patience


@dataclass(frozen=True, slots=True)
class Owed:
    """What an engine that has ended still has to give back, in bytes.

    Attributes:
        baseline: What was available before it was made.
        leased: Its lease.
        before: What was available before it was ended, None where nobody looked.
        took: What it took, None where unknown.
    """

    baseline: int
    leased: int
    before: int | None = None
    took: int | None = None

    @property
    def enough(self) -> int:
        """What has to be available again."""
        return self.baseline - max(self.leased // SLACK_SHARE, SLACK_LEAST)

    def patience(self, available: int) -> float:
        """Return how long it may stand still at *available*.

        Once half of what it took is back the driver is not unwinding any more:
        what is missing then, somebody else has taken since.
        """
        if self.before is None:
            return UNWIND
        took = self.leased if self.took is None else self.took
        return PATIENCE if available - self.before >= took // 2 else UNWIND


class Gauge:
    """Reads how much memory there is.

    Args:
        proc: Where `/proc` is.
        host: The settings that say what stays free.
        driver: The GPU's; None is this machine's.
    """

    def __init__(self, proc: Path, host: HostSettings, driver: Nvml | None = None) -> None:
        self.proc = proc
        self._host = host
        self._driver = driver or nvml()

    def read(self) -> Memory:
        """Read it; the first time the driver is loaded, which can take a second."""
        text = (self.proc / "meminfo").read_text("ascii")
        total, available, free = parse_meminfo(text)
        room = Room(total, available, floor_of(self._host, total))
        return Memory(room, _gpu_room(self._driver.memory(), total), free)

    def stalled(self) -> float | None:
        """Return the seconds in which nobody could run for want of memory, None where unknown."""
        try:
            return parse_pressure((self.proc / "pressure" / "memory").read_text("ascii"))
        except OSError:
            return None  # a kernel without it, or one that was told not to count

    def processes(self) -> tuple[GpuProcess, ...]:
        """Return who computes on the GPU."""
        return self._driver.processes(self.proc)


def _gpu_room(gpu: GpuMemory | None, host_total: int) -> Room | None:
    if gpu is None or is_shared(gpu.total, host_total, platform.machine()):
        return None
    return Room(gpu.total, gpu.free, GPU_FLOOR)


async def wait_free(gauge: Gauge, need: int, *, on_gpu: bool) -> bool:
    """Wait until *need* bytes fit beside the floor, as long as memory is coming back.

    Returns:
        False when they never will, or nothing has come back for `PATIENCE` seconds.
    """
    room = gauge.read().room(on_gpu=on_gpu)
    if not room.can_ever_fit(need):
        return False
    stall = Stall(room.available, trio.current_time())
    while not room.fits(need):
        if stall.over(room.available, trio.current_time()):
            return False
        await trio.sleep(READ_EVERY)
        room = gauge.read().room(on_gpu=on_gpu)
    return True


async def wait_returned(gauge: Gauge, owed: Owed, *, on_gpu: bool) -> int:
    """Wait until what an engine had is available again, as long as it is coming back.

    Returns:
        Bytes that did not come back, 0 when enough did.
    """
    available = gauge.read().room(on_gpu=on_gpu).available
    stall = Stall(available, trio.current_time())
    while available < owed.enough:
        if stall.over(available, trio.current_time(), owed.patience(available)):
            return owed.enough - available
        await trio.sleep(READ_EVERY)
        available = gauge.read().room(on_gpu=on_gpu).available
    return 0


def short(need: int, room: Room, who: str) -> EngineFailed:
    """Refuse a start for which *room* is too small now; *who* has the memory."""
    return EngineFailed(
        "memory_short",
        f"the model needs {need / GIB:.1f} GiB of memory beside the {room.floor / GIB:.1f} GiB "
        f"that stay free, and {room.available / GIB:.1f} of {room.total / GIB:.1f} GiB "
        f"are available; {who or OTHERS}",
    )

"""What is known of memory at one moment, and what follows from it: values only.

A model's memory is one *room*: the GPU's own on a discrete card, and the host's
where both share it.  The host has a room in any case, since it can always wedge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_activator.catalog.host import HostSettings

GIB = 1 << 30
# What has to stay free for the host.  Below this a Spark wedges without an
# out-of-memory kill; two independent watchdogs use 6 to 8 GiB as their floor.
FLOOR = 8 * GIB
# On a smaller machine that much would leave no room for any model: there an
# eighth is kept, the share from which on 8 GiB are less (64 GiB, half a Spark).
FLOOR_SHARE = 8
# A discrete card that is full fails one allocation, and no host wedges: only
# what another program's context takes (300 to 500 MiB) has to stay.
GPU_FLOOR = 512 << 20
# Where host and GPU share memory the driver says MemTotal, or a little less.
SAME_SHARE = 16


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of one kind, in bytes.

    Attributes:
        total: All of it.
        available: What could be taken now.
        floor: What a start must leave.
    """

    total: int
    available: int
    floor: int

    def fits(self, need: int) -> bool:
        """Say whether *need* bytes fit beside the floor now."""
        return need + self.floor <= self.available

    def can_ever_fit(self, need: int) -> bool:
        """Say whether they would if nobody else had any."""
        return need + self.floor <= self.total


@dataclass(frozen=True, slots=True)
class Memory:
    """One reading.

    Attributes:
        host: The host's memory.
        gpu: The GPU's, None where it has none of its own.
        free: Bytes of the host's that not even the page cache uses.
    """

    host: Room
    gpu: Room | None = None
    free: int = 0

    @property
    def leased(self) -> Room:
        """What leases are for."""
        return self.gpu or self.host

    def room(self, *, on_gpu: bool) -> Room:
        """Return where an engine's memory is taken from."""
        return self.leased if on_gpu else self.host


def budget_of(host: HostSettings, reading: Memory) -> int:
    """Return the bytes that all leases may take together."""
    if host.budget is not None:
        return host.budget
    total = reading.leased.total
    floor = floor_of(host, total) if reading.gpu is None else reading.gpu.floor
    return max(0, total - floor)


def floor_of(host: HostSettings, total: int) -> int:
    """Return the bytes of the host's *total* that stay available."""
    return min(FLOOR, total // FLOOR_SHARE) if host.floor is None else host.floor


def parse_meminfo(text: str) -> tuple[int, int, int]:
    """Return total, available and free bytes from `/proc/meminfo`.

    Raises:
        KeyError: It does not say.
    """
    wanted = r"^(MemTotal|MemAvailable|MemFree):\s+(\d+) kB$"
    found = {name: int(kib) * 1024 for name, kib in re.findall(wanted, text, re.MULTILINE)}
    return found["MemTotal"], found["MemAvailable"], found["MemFree"]


def parse_pressure(text: str) -> float | None:
    """Return the seconds since boot in which nobody could run for want of memory.

    None where `/proc/pressure/memory` does not say.
    """
    found = re.search(r"^full .*\btotal=(\d+)$", text, re.MULTILINE)
    return int(found[1]) / 1e6 if found else None


def is_shared(gpu_total: int, host_total: int, machine: str) -> bool:
    """Say whether what the driver calls the GPU's memory is the host's.

    GB10 and its like are all `aarch64`; elsewhere a card that is as large as the
    host's memory (32 GB beside 32 GB) is common and means nothing.
    """
    close = abs(gpu_total - host_total) <= host_total // SAME_SHARE
    return machine == "aarch64" and close

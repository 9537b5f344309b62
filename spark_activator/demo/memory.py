"""Real memory, and a child that keeps it after the engine has gone."""

from __future__ import annotations

import mmap
import os
import select
import signal

# What is touched between two looks at the clock; 16 MiB take some milliseconds.
STRIDE = 16 * 2**20


class HeldMemory:
    """Memory that is really used: every page is written, none is shared or zero."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(len(held) for held in self._maps)

    def grow(self, size: int) -> None:
        """Hold *size* bytes more."""
        while size > 0:
            step = min(size, STRIDE)
            held = mmap.mmap(-1, step, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            # Random enough not to be merged or compressed away.
            held.write((os.urandom(mmap.PAGESIZE) * (step // mmap.PAGESIZE + 1))[:step])
            self._maps.append(held)
            size -= step


def keep_after_exit(seconds: float) -> int:
    """Fork a child that shares our memory, and keeps it for *seconds* after our end.

    It has a session of its own and ignores SIGTERM, as memory that a driver is
    slow to give back does; only SIGKILL frees it earlier.  Inside a container it
    ends with the container.  Must be called where no other thread runs, and before
    anything listens.

    Returns:
        The child's process id.
    """
    watched, held = os.pipe()
    child = os.fork()
    if child:
        os.close(watched)
        return child
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(held)
        # Whoever reads our log must see it end with the engine.
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        os.read(watched, 1)  # returns when our parent has gone, however it went
        select.select([], [], [], seconds)
    finally:
        os._exit(0)

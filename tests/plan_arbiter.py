"""Decides which runner plans next: it holds `plan.lock` and lets one at a time have it.

What a runner does under the lock is a *section*.  That a runner waits for the lock is
seen in `/proc`, that it had a section by inotify: each section opens the lock's file
once and closes it once.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from runner_world import Unit, until

# See inotify(7).
IN_CLOSE_NOWRITE, IN_OPEN = 0x10, 0x20
EVENT = struct.Struct("iIII")
# A runner that waits asks every 5 ms; one with nothing to decide looks every second.
TURN_LIMIT = 10.0


class Arbiter:
    """The holder of `plan.lock` in *directory*; `close` frees it for good."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "plan.lock"
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CREAT, 0o660)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = int(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        mask = IN_CLOSE_NOWRITE | IN_OPEN
        assert libc.inotify_add_watch(self._events, os.fsencode(self.path), mask) >= 0

    def wait_waiting(self, *units: Unit) -> None:
        """Return when all of *units* have the lock's file open: at this instant all wait."""
        until(lambda: all(self.waits(unit) for unit in units), what="runners wait to plan")

    def waits(self, unit: Unit) -> bool:
        """Whether *unit* is between the opening and the closing of the lock's file."""
        assert unit.process is not None
        with suppress(FileNotFoundError, PermissionError):
            for entry in os.listdir(directory := f"/proc/{unit.process.pid}/fd"):
                with suppress(FileNotFoundError):
                    if os.readlink(f"{directory}/{entry}") == str(self.path):
                        return True
        return False

    def holds(self, unit: Unit) -> bool:
        """Whether *unit* has the lock, as the kernel lists it."""
        assert unit.process is not None
        inode = f":{os.stat(self.path).st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            # A waiter has an arrow in second place.
            ours = words[1] == "FLOCK" and words[4] == str(unit.process.pid)
            if ours and words[5].endswith(inode):
                return True
        return False

    def asked(self, unit: Unit) -> int:
        """How often *unit* has waited for something so far; it grows while it polls."""
        assert unit.process is not None
        status = Path(f"/proc/{unit.process.pid}/status").read_text()
        return int(status.partition("nonvoluntary")[0].rpartition("voluntary_ctxt_switches:")[2])

    def grant(self, unit: Unit, others: Sequence[Unit]) -> int:
        """Let *unit* have the lock while *others* stand still, and take it back.

        Returns:
            How many sections it had: one, or a few where it was quicker than we.
        """
        with stopped(others):
            self._sections()
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            deadline, had = time.monotonic() + TURN_LIMIT, 0
            while not had and (left := deadline - time.monotonic()) > 0:
                select.select([self._events], [], [], left)
                had = self._sections()
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            return had + self._sections()

    def free(self) -> None:
        """Let everybody plan."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave."""
        os.close(self._fd)
        os.close(self._events)

    def _sections(self) -> int:
        ended = 0
        with suppress(BlockingIOError):
            while data := os.read(self._events, 4096):
                while data:
                    _, mask, _, length = EVENT.unpack_from(data)
                    ended += bool(mask & IN_CLOSE_NOWRITE)
                    data = data[EVENT.size + length :]
        return ended


@contextmanager
def stopped(units: Sequence[Unit]) -> Iterator[None]:
    """Have *units* stand still where they are."""
    for unit in units:
        unit.kill(signal.SIGSTOP)
    try:
        yield
    finally:
        for unit in units:
            unit.kill(signal.SIGCONT)


class Trap:
    """Stops *unit* inside its section, when it describes its `ticket` or `lease`.

    A description is written beside and renamed.  Where the file beside is a pipe
    that nobody reads, opening it does not return.
    """

    def __init__(self, arbiter: Arbiter, unit: Unit, kind: str) -> None:
        assert unit.process is not None
        directory = arbiter.path.parent
        self._path = directory / f".{kind}-{unit.model}.json.{unit.process.pid}"
        self._pipe = directory / f"trap-{unit.model}"
        os.mkfifo(self._pipe)
        os.link(self._pipe, self._path)

    def open(self) -> None:
        """Let it go on; what it describes stands as broken until it describes it again."""
        harmless = self._path.with_name("harmless")
        harmless.write_text("{}")
        harmless.rename(self._path)
        reader = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)
        # Kept open until it has written: a pipe without a reader would kill it.
        until(lambda: os.read(reader, 1) if select.select([reader], [], [], 0)[0] else b"")
        self.remove()

    def remove(self) -> None:
        """Have it away."""
        self._pipe.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            if self._path.is_fifo():
                self._path.unlink()

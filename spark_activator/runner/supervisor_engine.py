"""One process engine: started in a process group of its own, read, and ended whole.

*Whole* means with everything that it forked: its process group, and what left
that group or lost its parent.  The kernel gives us the latter as children
(`adopt_orphans`), and so they can be found and killed without naming anything
that is not ours.  A group is only ever signalled while its leader is not reaped,
so that its number cannot mean another one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable

import trio

from spark_activator.runner.lines import LogLines
from spark_activator.runner.supervisor_lines import Run

# What a runner that comes back gets to see of the past.
REMEMBERED = 50
# SIGKILL works at once, unless a driver holds the process; then the runner has
# to know that the engine is as gone as we can make it.
SWEEP_LIMIT = 10.0
# The last words are in the pipe already when the last writer is dead.
LAST_WORDS_LIMIT = 1.0

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own.

    Raises:
        OSError: The kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the reaper of orphans")


def environment(run: Run) -> dict[str, str]:
    """Return what the engine gets: nothing of ours but where programs and home are."""
    return {
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        **run.env,
    }


class Engine:
    """A started engine.

    Args:
        run: What to start.
        on_line: Called with each line that it prints.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, run: Run, on_line: Callable[[str], None]) -> None:
        self.run = run
        self.lines: deque[str] = deque(maxlen=REMEMBERED)
        self.ending = trio.Event()
        self.gone = trio.Event()
        self.status = 0
        self._on_line = on_line
        self._grace = trio.CancelScope()
        self._log_ended = trio.Event()
        replaced = {"{socket}": "engine.sock", "{python}": sys.executable}
        command = [_replace(word, replaced) for word in run.command]
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                command,
                cwd=run.directory,
                env=environment(run),
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                process_group=0,
                # Its socket is for its group.
                umask=0o007,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._log = trio.lowlevel.FdStream(ours)

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    def end(self, grace: float) -> None:
        """Ask it to go: SIGTERM now, SIGKILL in *grace* seconds; a second call can shorten that."""
        self._grace.deadline = min(self._grace.deadline, trio.current_time() + grace)
        self.ending.set()

    async def supervise(self) -> None:
        """Read what it prints and return when nothing of it is left; sets `gone`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_log)
            nursery.start_soon(self._end_when_asked)
            nursery.start_soon(self._reap_orphans)
            await _wait_exit(self.pid)
            self.ending.set()
            self._signal(signal.SIGKILL)
            self.status = self._process.wait()
            with trio.move_on_after(SWEEP_LIMIT):
                await _sweep()
            with trio.move_on_after(LAST_WORDS_LIMIT):
                await self._log_ended.wait()
            nursery.cancel_scope.cancel()
        self.gone.set()

    async def _end_when_asked(self) -> None:
        await self.ending.wait()
        self._signal(signal.SIGTERM)
        with self._grace:
            await trio.sleep_forever()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def _reap_orphans(self) -> None:
        with trio.open_signal_receiver(signal.SIGCHLD) as signals:
            async for _ in signals:
                for pid in _children():
                    if pid != self.pid:
                        _reap(pid)

    async def _read_log(self) -> None:
        lines = LogLines()
        async with self._log:
            async for data in self._log:
                self._hear(lines.feed(data))
        self._hear(lines.end())
        self._log_ended.set()

    def _hear(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.lines.append(line)
            self._on_line(line)


def _replace(word: str, replaced: dict[str, str]) -> str:
    for name, value in replaced.items():
        word = word.replace(name, value)
    return word


async def _wait_exit(pid: int) -> None:
    """Return when our child *pid* has exited; it is not reaped."""
    fd = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def _children() -> set[int]:
    """List our children, also those that came to us as orphans."""
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        # A thread may end while we look.
        with (
            contextlib.suppress(FileNotFoundError, ProcessLookupError),
            open(f"/proc/self/task/{task}/children") as file,
        ):
            found.update(int(pid) for pid in file.read().split())
    return found


async def _sweep() -> None:
    """Kill and reap our children until none is left; each may leave us its own."""
    while pids := _children():
        for pid in pids:
            # Not reaped by us yet, so that the number still means it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                await _wait_exit(pid)
            _reap(pid)


def _reap(pid: int) -> None:
    """Reap our child *pid* if it has exited."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

"""Run a command as if it were us: its exit status is ours, and signals sent to us reach it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

# What people and service managers send to end a program, or to tell it something.
PASSED_ON = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
    }
)
# Python ignores them, and a program expects not to inherit that.
_OURS = (signal.SIGPIPE, signal.SIGXFSZ)


def run(command: Sequence[str], keep: int) -> int:
    """Run *command* and return its exit status, 128 + N where signal N ended it.

    Args:
        command: Program and arguments.
        keep: A descriptor that it, and whoever it starts, inherits.

    Raises:
        OSError: It cannot be started.
    """
    # A parent that ignores it would have the kernel throw the exit status away.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked from before it is there, so that none is lost.
    waited = {*PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        os.set_inheritable(keep, True)  # noqa: FBT003  # takes it by position only
        pid = os.posix_spawnp(
            command[0], list(command), os.environ, setsigmask=before, setsigdef=_OURS
        )
        while True:
            if (status := _ended(pid)) is not None:
                return status
            told = signal.sigwaitinfo(waited)
            # What the kernel sends (Ctrl-C, the terminal's end) goes to all in the
            # foreground, the command included; above 0 it is the kernel's.
            if told.si_signo in PASSED_ON and told.si_code <= 0:
                os.kill(pid, told.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ended(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code

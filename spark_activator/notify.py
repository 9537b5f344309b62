"""Say to systemd how we are, and leave descriptors with it; a no-op outside of it.

`Type=notify` services report to the socket that `NOTIFY_SOCKET` names.  What is
said is state for a person (`STATUS=`), never a means to make anything happen,
so that a datagram that could not be sent is not an error of ours: every
function returns whether systemd has it, and only who leaves a descriptor there
(`store`) has to look.

The process's children must not get `NOTIFY_SOCKET`: whoever starts one gives it
an environment of its own.
"""

from __future__ import annotations

import array
import logging
import os
import select
import socket
from collections.abc import Sequence

logger = logging.getLogger(__name__)

# systemd empties its queue within milliseconds; during a daemon-reload it is
# away for about a second.  Longer than this we do not stand still for it.
SEND_LIMIT = 5.0


def ready(status: str) -> bool:
    """Say that the service is up, in *status* what that means right now."""
    return notify("READY=1", f"STATUS={_one_line(status)}")


# These three are said from event loops that have clients to serve: they do not
# wait while systemd is away, and who needs them heard says them again.


def status(text: str) -> bool:
    """Show *text* in `systemctl status`."""
    return notify(f"STATUS={_one_line(text)}", limit=0)


def stopping(text: str) -> bool:
    """Say that the service is on its way out, and why."""
    return notify("STOPPING=1", f"STATUS={_one_line(text)}", limit=0)


def watchdog() -> bool:
    """Say that the loop lives; due every `watchdog_interval` seconds."""
    return notify("WATCHDOG=1", limit=0)


def watchdog_interval() -> float | None:
    """Return seconds between two `watchdog` calls, or None where none is wanted.

    It is half of the unit's `WatchdogSec=`, as sd_watchdog_enabled(3) advises.
    """
    pid = os.environ.get("WATCHDOG_PID")
    if pid and pid != str(os.getpid()):
        return None
    try:
        limit = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return limit / 2_000_000 if limit > 0 else None


def is_supervised() -> bool:
    """Say whether systemd listens to us at all."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def store(name: str, fd: int) -> bool:
    """Leave a duplicate of *fd* with systemd, to get it back as *name* after a crash.

    One name can hold several descriptors; `listen.inherited` returns them all.
    """
    return notify("FDSTORE=1", f"FDNAME={name}", fds=(fd,))


def unstore(name: str) -> bool:
    """Take every descriptor called *name* out of systemd's store."""
    return notify("FDSTOREREMOVE=1", f"FDNAME={name}")


def barrier(limit: float = SEND_LIMIT) -> bool:
    """Wait until systemd has read everything sent so far; False after *limit* seconds.

    systemd cannot tell from whom a datagram is once its sender is gone, so
    this belongs between `unstore` and the exit.  It blocks: from trio, call it
    in a thread, or as the last thing that is done.
    """
    theirs_read, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            sent = notify("BARRIER=1", fds=(theirs,))
        finally:
            os.close(theirs)
        if not sent:
            return False
        # systemd closes its copy, and the pipe hangs up.
        poll = select.poll()
        poll.register(theirs_read, 0)
        return bool(poll.poll(limit * 1000))
    finally:
        os.close(theirs_read)


def notify(*assignments: str, fds: Sequence[int] = (), limit: float = SEND_LIMIT) -> bool:
    """Send *assignments* in one datagram, with duplicates of *fds*, within *limit* seconds.

    Returns:
        Whether it was sent; False outside of systemd.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(limit)
            # Not sent to an address: only of a connected socket does the kernel
            # know whether the other side's queue is full; else waiting is spinning.
            sock.connect(address)
            # What others said is shown here: a lone surrogate is no reason to die.
            sock.sendmsg(["\n".join(assignments).encode(errors="replace")], ancillary)
    except OSError as error:
        logger.debug("Failed to notify systemd of %s, ignoring: %s", assignments[0], error)
        return False
    return True


def _one_line(text: str) -> str:
    # A newline would begin another assignment.
    return " ".join(text.splitlines())

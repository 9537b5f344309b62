"""The descriptors that systemd passed to us, by name, checked before they are used.

A unit's listener has the name that its socket unit says (`FileDescriptorName=`);
what `notify.store` left there comes back under its own.  systemd owns the
listener: we never unlink it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from spark_activator.errors import UserError

# See sd_listen_fds(3): the first passed descriptor is always this one.
FIRST_FD = 3


class NotPassed(UserError):
    """systemd did not pass the descriptor that we live from, or passed another thing."""


def inherited(environ: MutableMapping[str, str] | None = None) -> dict[str, list[int]]:
    """Take every descriptor that systemd passed, by name, in order.

    They are made close-on-exec, and the variables that describe them are taken
    out of *environ* (by default the process's own), so that no child believes
    them to be its own.  A second call finds nothing.
    """
    environ = os.environ if environ is None else environ
    pid, count, names = (
        environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    fds = range(FIRST_FD, FIRST_FD + int(count))
    for fd in fds:
        os.set_inheritable(fd, False)  # noqa: FBT003  # takes it by position only
    labels = names.split(":") if names else []
    labels += ["unknown"] * (len(fds) - len(labels))
    taken: dict[str, list[int]] = {}
    for label, fd in zip(labels, fds, strict=False):
        taken.setdefault(label, []).append(fd)
    return taken


def listener(passed: dict[str, list[int]], name: str) -> socket.socket:
    """Take the one listener called *name* out of *passed*, not blocking.

    Raises:
        NotPassed: There is none, or more than one, or it does not listen.
    """
    fds = passed.pop(name, [])
    if len(fds) != 1:
        raise _not_passed(f"one listener '{name}'", len(fds))
    return _listener(fds[0], name)


def listeners(passed: dict[str, list[int]], name: str) -> list[socket.socket]:
    """Take all listeners called *name* out of *passed*, one for each address, not blocking.

    Raises:
        NotPassed: There is none, or one of them does not listen.
    """
    fds = passed.pop(name, [])
    if not fds:
        raise _not_passed(f"listeners '{name}'", 0)
    return [_listener(fd, name) for fd in fds]


def _not_passed(expected: str, found: int) -> NotPassed:
    return NotPassed(
        f"expected {expected} from systemd, got {found}",
        hint="this program is started by its systemd socket unit",
    )


def _listener(fd: int, name: str) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise NotPassed(f"expected a listening socket as '{name}': {error.strerror}") from error
    if sock.type != socket.SOCK_STREAM or not listens:
        raise NotPassed(f"expected a listening stream socket as '{name}', got {sock!r}")
    sock.settimeout(0)
    return sock

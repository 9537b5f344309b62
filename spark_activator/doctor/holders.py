"""Who listens on a port: read from /proc, where every process shows its sockets to root."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from spark_activator.doctor.facts import Holder

# Of a line of /proc/net/tcp: where the inode of the socket is.
INODE = 9
# A service of the system's manager; those of a user are not stopped by root's systemctl.
_SERVICE = re.compile(r"/system\.slice/(?:[^\n]*/)?([^/\n]+\.service)$", re.MULTILINE)


def holder(proc: Path, lines: Iterator[list[str]]) -> Holder | None:
    """Return who has one of the sockets in *lines*, None where nobody is seen to.

    Args:
        proc: The /proc that is read.
        lines: Those of /proc/net/tcp and tcp6, in fields, that listen on the port.
    """
    wanted = {f"socket:[{fields[INODE]}]" for fields in lines if len(fields) > INODE}
    found = sorted(pid for pid in _numbers(proc) if wanted & set(_links(proc / f"{pid}/fd")))
    # systemd keeps a socket whose service it has started: that one is the program.
    others = [pid for pid in found if pid != 1] or found
    if not others:
        return None
    pid = others[0]
    service = _SERVICE.search(_text(proc / f"{pid}/cgroup"))
    return Holder(_text(proc / f"{pid}/comm").strip(), pid, service[1] if service else "")


def _numbers(proc: Path) -> Iterator[int]:
    for entry in os.listdir(proc):
        if entry.isdigit():
            yield int(entry)


def _links(directory: Path) -> Iterator[str]:
    # Processes end while they are looked at, and those of others are not ours to see.
    with contextlib.suppress(OSError):
        for entry in os.listdir(directory):
            with contextlib.suppress(OSError):
                yield os.readlink(directory / entry)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

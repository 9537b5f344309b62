"""The systemd user manager, and what it and the kernel say about the tour's units."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NAME = "demo-echo"
KINDS = ("model", "runner", "engine", "reaper", "tcp")


class NotObserved(Exception):
    """A step of the tour did not happen, or not as it should have."""


@dataclass(frozen=True)
class Process:
    """One line of the process table that belongs to the tour."""

    pid: int
    kind: str
    kib: int


def unit(kind: str, suffix: str = "service") -> str:
    """Name one of the model's units."""
    return f"spark-{kind}@{NAME}.{suffix}"


def command(words: list[str], *, check: bool = True, env: dict[str, str] | None = None) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env
    )
    if check and done.returncode != 0:
        raise NotObserved(f"failed: {' '.join(words)}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def systemctl(*arguments: str, check: bool = True) -> str:
    """Run `systemctl --user`."""
    return command(["systemctl", "--user", *arguments], check=check)


def state(name: str) -> str:
    """Say what systemd says about a unit, in one word."""
    return systemctl("is-active", name, check=False).strip()


def states(*names: str) -> list[str]:
    """Say what systemd says about some units, a word each."""
    return systemctl("is-active", *names, check=False).split()


def status_text(name: str) -> str:
    """Say what a unit's process says about itself."""
    return systemctl("show", "--property=StatusText", "--value", name, check=False).strip()


def listens(port: int) -> bool:
    """Whether the kernel has a listener on *port* of loopback; looking wakes nobody."""
    needle = f"0100007F:{port:04X}"
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[1] == needle and row.split()[3] == "0A" for row in rows)


def expect(what: str, observed: Callable[[], bool], *, within: float = 0.0) -> None:
    """Wait until something is so.

    Raises:
        NotObserved: It was not, within that many seconds.
    """
    deadline = time.monotonic() + within
    while not observed():
        if time.monotonic() > deadline:
            raise NotObserved(f"not observed: {what}")
        # Nothing tells us about the process table; a signal ends the wait.
        signal.sigtimedwait([], 0.1)


def processes(prefix: Path) -> list[Process]:
    """Everything of the model that the process table knows.

    Args:
        prefix: Where the code is installed: a process that runs it outside of the
            units' cgroups must not be, but has to be seen.
    """
    # An installed system may have a model of the same name, below another manager.
    cgroup = systemctl("show", "--property=ControlGroup", "--value").strip("/\n")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # It may end while it is looked at.
        with contextlib.suppress(OSError):
            process = _process(entry, cgroup, prefix)
            if process is not None:
                found.append(process)
    return sorted(found, key=lambda process: process.pid)


def _process(entry: Path, manager: str, prefix: Path) -> Process | None:
    status = (entry / "status").read_text()
    if re.search(r"^State:\s*Z", status, re.MULTILINE):
        return None
    resident = re.search(r"^VmRSS:\s*(\d+)", status, re.MULTILINE)
    kib = int(resident[1]) if resident else 0
    for line in (entry / "cgroup").read_text().splitlines():
        path = line.split(":", 2)[2].strip("/")
        if not path.startswith(manager):
            continue
        for kind in KINDS:
            if f"/{unit(kind)}/" in f"/{path}/":
                return Process(int(entry.name), kind, kib)
    program = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if program[0].startswith(f"{prefix}/") and "-m" in program:
        return Process(int(entry.name), "astray", kib)
    return None

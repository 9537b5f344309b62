"""The files in the directory that all runners share, read.

What a file says describes, and never decides: a lease is held while its lock
is, whatever its description says, and a description may be missing or broken.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from spark_activator.catalog.model import Lifecycle
from spark_activator.errors import EngineFailed
from spark_activator.runner.lock import is_free, read_json
from spark_activator.runner.plan import Lease, LeaseState, Pause, Ticket

logger = logging.getLogger(__name__)

# No number in the files is beyond what a float counts exactly.
MOST = 2**53


def boottime() -> float:
    """Return seconds since boot, suspend included: the clock of every stamp in the files."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def lease_lock_path(directory: Path, name: str) -> Path:
    """Return the lock file of the lease of *name*."""
    return directory / f"lease-{name}.lock"


def unwritable(directory: Path, error: OSError) -> EngineFailed:
    """Say that *directory* cannot be used."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    logger.error("Cannot use '%s': %s", directory, error)
    return EngineFailed("state_unwritable", f"cannot record who uses the GPU: {reason}")


def alive(directory: Path, kind: str) -> list[str]:
    """Name the models whose lock of *kind* is held; ask only under the plan's lock."""
    names = sorted(
        path.name.removeprefix(f"{kind}-").removesuffix(".lock")
        for path in directory.glob(f"{kind}-*.lock")
    )
    return [name for name in names if not is_free(directory / f"{kind}-{name}.lock")]


def read_lease(directory: Path, name: str) -> Lease:
    """Read the description of a lease that is held; what is missing or wrong is unknown."""
    body = read_json(directory / f"lease-{name}.json")
    try:
        state = LeaseState(body.get("state", ""))
    except ValueError:
        return Lease(name)
    return Lease(
        name,
        _number(body.get("memory")),
        state,
        _number(body.get("in_flight")) or 0,
        _seconds(body.get("since")) or 0.0,
        body.get("activation") if isinstance(body.get("activation"), str) else None,
        _number(body.get("baseline")),
        _lifecycle(body.get("lifecycle")),
        _number(body.get("priority")) or 0,
        pinned=body.get("pinned") is True,
        foreign=body.get("foreign") is True,
        until=_seconds(body.get("until")),
        cost=_seconds(body.get("cost")),
        ready_since=_seconds(body.get("ready_since")),
        idle_since=_seconds(body.get("idle_since")),
        held=_number(body.get("held")) or 0,
    )


def read_leases(directory: Path) -> list[Lease]:
    """Read every lease that is held; ask only under the plan's lock."""
    return [read_lease(directory, name) for name in alive(directory, "lease")]


def read_tickets(directory: Path) -> list[Ticket]:
    """Read every ticket that is held; ask only under the plan's lock."""
    return [read_ticket(directory, name) for name in alive(directory, "ticket")]


def read_ticket(directory: Path, name: str) -> Ticket:
    """Read the description of a ticket that is held; one without an age came just now."""
    body = read_json(directory / f"ticket-{name}.json")
    since = _seconds(body.get("since"))
    return Ticket(
        name,
        _number(body.get("memory")),
        boottime() if since is None else since,
        _number(body.get("priority")) or 0,
        _lifecycle(body.get("lifecycle")),
        cost=_seconds(body.get("cost")),
        start=_seconds(body.get("start")),
        abandoned_at=_seconds(body.get("abandoned_at")),
        returning=body.get("returning") is True,
    )


def pause_path(directory: Path) -> Path:
    """Return the file that is there while the owner has the GPU, and maybe longer."""
    return directory / "pause.json"


def read_pause(directory: Path, now: float) -> Pause | None:
    """Read the pause that is in force at *now*, None where there is none.

    A file that is there and cannot be understood is a pause without an end: the
    owner asked for one, and takes it back by `resume`.
    """
    path = pause_path(directory)
    if not path.exists():
        return None
    body = read_json(path)
    until = _seconds(body.get("until"))
    return None if until is not None and until <= now else Pause(until)


def _lifecycle(value: object) -> Lifecycle:
    try:
        return Lifecycle(str(value))
    except ValueError:
        return Lifecycle.NORMAL


def _number(value: object) -> int | None:
    seconds = _seconds(value)
    return None if seconds is None else int(seconds)


def _seconds(value: object) -> float | None:
    # JSON, as Python reads it, has infinities and NaN.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < MOST else None

"""The cache that is written to: which one, as whom, and how much room it has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spark_activator import hub
from spark_activator.errors import UserError

# Engines read weights without any right over other users' files.
UMASK = 0o022
# Left free: logs and caches of this machine have to go on.
RESERVE = 1 << 30

Wanted = Sequence[tuple[str, str | None]]


def whole(places: Iterable[str], wanted: Wanted) -> str | None:
    """Return the first cache that has everything *wanted*: repositories and revisions."""
    return next((place for place in places if hub.has_all(place, wanted)), None)


def writable(places: Sequence[str], wanted: Wanted) -> Path:
    """Return the cache to write to: one that has a part of *wanted* already, else the first.

    An engine gets one cache, so drafts go where the model is.

    Raises:
        UserError: None may be written.
    """
    able = [place for place in places if _may_write(Path(place))]
    if not able:
        raise UserError(
            f"none of the hub caches may be written: {', '.join(places)}",
            hint="use sudo, or name one of yours in host.yaml (hub_caches)",
        )

    def parts(place: str) -> int:
        # The model itself counts most: it is the largest.
        weights = range(len(wanted), 0, -1)
        return sum(
            weight
            for weight, (repository, _) in zip(weights, wanted, strict=True)
            if Path(place, hub.folder(repository)).is_dir()
        )

    return Path(max(able, key=parts))


@contextmanager
def as_owner(place: Path) -> Iterator[None]:
    """Write as the owner of *place*, who may be somebody else where root runs us.

    What a person's cache gets stays that person's; and no link that they could
    make there leads root astray.
    """
    there = place
    while not there.exists():
        there = there.parent
    owner = there.stat()
    before = os.umask(UMASK)
    change = os.geteuid() == 0 and owner.st_uid != 0
    groups = os.getgroups()
    try:
        if change:
            os.setgroups([owner.st_gid])
            os.setegid(owner.st_gid)
            os.seteuid(owner.st_uid)
        yield
    finally:
        if change:
            os.seteuid(0)
            os.setegid(os.getgid())
            os.setgroups(groups)
        os.umask(before)


def require_room(place: Path, need: int, what: str) -> None:
    """Insist that *need* bytes more fit at *place*.

    Raises:
        UserError: They do not.
    """
    there = place
    while not there.exists():
        there = there.parent
    room = os.statvfs(there)
    free = room.f_bavail * room.f_frsize
    if need and free < need + RESERVE:
        raise UserError(
            f"{what} needs {size(need)} more in {place}, and {size(RESERVE)} are to stay free: "
            f"there are {size(free)}",
            hint="see what takes how much: spark-model disk",
        )


def size(count: float) -> str:
    """Say *count* bytes for a person: '13.8 GiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _may_write(path: Path) -> bool:
    there = path
    while not there.exists():
        if there.is_symlink():
            return False
        there = there.parent
    try:
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK, effective_ids=True)
    except OSError:
        return False

"""What lies in hub caches, and which models use it."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spark_activator.catalog.model import Model
from spark_activator.catalog.repositories import repositories
from spark_activator.errors import UserError

PREFIX = "models--"
ASIDE = ".removed-"


@dataclass(frozen=True, slots=True)
class Stored:
    """One repository in one cache.

    Attributes:
        place: The cache.
        path: Its folder.
        repository: Its name on the hub.
        size: Bytes that its files take; None where we may not look.
        users: Models that use it, also those that are switched off.
        partial: Whether a download has not ended.
        half_deleted: Whether it is what a deletion left that was interrupted.
    """

    place: str
    path: Path
    repository: str
    size: int | None
    users: tuple[str, ...]
    partial: bool = False
    half_deleted: bool = False


def users(models: Iterable[Model]) -> dict[str, tuple[str, ...]]:
    """Say of each repository which of *models* use it."""
    found: dict[str, tuple[str, ...]] = {}
    for model in models:
        for repository, _ in repositories(model):
            names = found.get(repository, ())
            found[repository] = names if model.name in names else (*names, model.name)
    return found


def stored(places: Sequence[str], used: Mapping[str, tuple[str, ...]]) -> list[Stored]:
    """List every repository in the caches at *places*, the largest first.

    A cache that two of *places* lead to counts once.
    """
    once = {os.path.realpath(place): place for place in reversed(places)}
    found = [_one(place, name, used) for place in once.values() for name in _folders(place)]
    return sorted(found, key=lambda entry: (-(entry.size or 0), entry.repository, entry.place))


def delete(entry: Stored) -> int:
    """Delete *entry* from its cache; return the bytes that this freed.

    Raises:
        UserError: It cannot be deleted, or is just being downloaded.
    """
    path = entry.path
    aside = path.with_name(f"{ASIDE}{path.name}.{os.getpid()}")
    assert shutil.rmtree.avoids_symlink_attacks
    try:
        if path.is_symlink():
            raise UserError(f"{path} is a link, which stays", hint="remove by hand what it names")
        _require_no_download(path)
        freed = size(path)
        # Away by name first: nobody finds half of it.
        path.rename(aside)
        shutil.rmtree(aside)
        locks = path.with_name(".locks") / path.name
        shutil.rmtree(locks, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot remove {path}: {error.strerror}") from error
    return freed


def size(path: Path) -> int:
    """Add up what the files below *path* take on the disk, each once, links not followed.

    Raises:
        PermissionError: We may not look.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(facts.st_mode):
                    waiting.append(Path(entry.path))
                elif (facts.st_dev, facts.st_ino) not in seen:
                    seen.add((facts.st_dev, facts.st_ino))
                    total += facts.st_blocks * 512
    return total


def _require_no_download(path: Path) -> None:
    for growing in path.glob("blobs/*.incomplete"):
        with growing.open("rb") as stream:
            try:
                # Downloads have it to themselves while they write.
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{path} stays: a download into it is running",
                    hint="end it, and run this again",
                ) from error


def _one(place: str, name: str, used: Mapping[str, tuple[str, ...]]) -> Stored:
    path = Path(place, name)
    half_deleted = name.startswith(ASIDE)
    kept = name.removeprefix(ASIDE).rpartition(".")[0] if half_deleted else name
    # A name of an owner has no `--`; the hub forbids it.
    repository = kept.removeprefix(PREFIX).replace("--", "/")
    try:
        taken: int | None = size(path)
        partial = any(path.glob("blobs/*.incomplete"))
    except OSError:
        taken, partial = None, False
    needed_by = () if half_deleted else used.get(repository, ())
    return Stored(place, path, repository, taken, needed_by, partial, half_deleted)


def _folders(place: str) -> list[str]:
    try:
        names = sorted(os.listdir(place))
    except OSError:
        return []
    return [name for name in names if name.startswith((PREFIX, ASIDE))]

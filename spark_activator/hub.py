"""Hugging Face hub caches on disk: whether a repository lies whole in one.

Looking needs no `huggingface_hub`: the runner looks before each start, and must
not load what downloads.  The layout is the hub's own: `models--OWNER--NAME/`
with `refs/REVISION` (a commit), `snapshots/COMMIT/FILE` (links) and `blobs/`.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_REVISION = "main"
# What says which files the weights are in; the largest known are some 10 MB.
INDEX_SUFFIX = ".index.json"
INDEX_LIMIT = 64 << 20
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
# Mistral's own format, beside the usual one in the same repository.
CONSOLIDATED = "consolidated.safetensors"
CONFIGS = ("config.json", "params.json")
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.\w+")


def folder(repository: str) -> str:
    """Name the folder of *repository* (`owner/name`) in a cache."""
    return "models--" + repository.replace("/", "--")


def places(configured: Iterable[str], own: Path) -> tuple[str, ...]:
    """Return every cache to look into: those of host.yaml, and *own* behind them."""
    return tuple(dict.fromkeys((*configured, str(own))))


def commit(place: str, repository: str, revision: str | None) -> str | None:
    """Return the commit that *revision* is in the cache at *place*; None where it is not there.

    Raises:
        PermissionError: We may not look.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    path = Path(place, folder(repository), "refs", revision or DEFAULT_REVISION)
    try:
        return path.read_text("ascii").strip() or None
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None


def snapshot(place: str, repository: str, revision: str | None) -> Path | None:
    """Return the directory with the files of *revision*, whole or not.

    Raises:
        PermissionError: We may not look.
    """
    found = commit(place, repository, revision)
    if found is None:
        return None
    path = Path(place, folder(repository), "snapshots", found)
    return path if _exists(path) else None


def has(place: str, repository: str, revision: str | None) -> bool | None:
    """Say whether *repository* is whole in the cache at *place*; None where we may not look."""
    try:
        found = snapshot(place, repository, revision)
        return found is not None and is_whole(found)
    except PermissionError:
        return None


def has_all(place: str, repositories: Sequence[tuple[str, str | None]]) -> bool | None:
    """Say whether all *repositories*, each with its revision, are whole at *place*."""
    seen = {has(place, repository, revision) for repository, revision in repositories}
    return False if False in seen else None if None in seen else True


def is_whole(path: Path) -> bool:
    """Say whether the snapshot at *path* has a configuration and all its weights.

    Raises:
        PermissionError: We may not look.
    """
    names = _names(path)
    if not any(_exists(path / name) for name in CONFIGS if name in names):
        return False
    indexes = [name for name in names if name.endswith(INDEX_SUFFIX)]
    if any(_index_is_whole(path, name) for name in indexes):
        return True
    if indexes:
        return CONSOLIDATED in names and _exists(path / CONSOLIDATED)
    return _unindexed_is_whole(path, names)


def _index_is_whole(path: Path, index: str) -> bool:
    try:
        with open(path / index, "rb") as stream:
            body = json.loads(stream.read(INDEX_LIMIT))
        files = set(body["weight_map"].values())
    except PermissionError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    return bool(files) and all(isinstance(name, str) and _exists(path / name) for name in files)


def _unindexed_is_whole(path: Path, names: Iterable[str]) -> bool:
    there = [name for name in names if name.endswith(WEIGHTS) and _exists(path / name)]
    shards: dict[tuple[str, str], int] = {}
    for name in there:
        if match := SHARD.fullmatch(name):
            key = (match["stem"], match["count"])
            shards[key] = shards.get(key, 0) + 1
    if shards:
        return any(count == int(of) for (_, of), count in shards.items())
    return bool(there)


def _names(path: Path) -> set[str]:
    try:
        return set(os.listdir(path))
    except PermissionError:
        raise
    except OSError:
        return set()


def _exists(path: Path) -> bool:
    """Say whether *path* is there, where a link leads included."""
    try:
        return not stat.S_ISLNK(os.stat(path).st_mode)
    except PermissionError:
        raise
    except OSError:
        return False

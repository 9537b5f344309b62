"""What each activation took, a JSON object a line; a torn last line is ignored.

Never fatal: a start that cannot be recorded is still a start.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# The last lines tell how long a start takes now; a line is some 400 bytes.
READ_BYTES = 65536
# What models took is no secret, and nginx shows it.
MODE = 0o644
STARTS = 5


def append(file: Path, entry: dict[str, Any]) -> None:
    """Add one activation."""
    line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
    try:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            size = os.fstat(fd).st_size
            if not size:
                os.fchmod(fd, MODE)  # whatever our umask says
            # A line that was torn (no space left) must not take this one along.
            torn = size and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, b"\n" + line if torn else line)
        finally:
            os.close(fd)
    except OSError as error:
        logger.warning("Failed to record the activation, ignoring: %s", error)


def read_last(file: Path) -> list[dict[str, Any]]:
    """Read the last activations, oldest first; empty where there are none."""
    try:
        with open(file, "rb") as source:
            source.seek(max(0, source.seek(0, os.SEEK_END) - READ_BYTES))
            lines = source.read().split(b"\n")
    except OSError:
        return []
    return list(_objects(lines))


def typical_start(entries: Iterable[dict[str, Any]], config: str) -> float | None:
    """Return the median seconds of the last starts with this configuration, None without any."""
    return _typical(entries, config, "start")


def typical_cost(entries: Sequence[dict[str, Any]], config: str) -> float | None:
    """Return seconds of a start and a stop with this configuration, None without any start."""
    start = typical_start(entries, config)
    return None if start is None else start + (_typical(entries, config, "stop") or 0.0)


def _typical(entries: Iterable[dict[str, Any]], config: str, key: str) -> float | None:
    taken = [
        float(entry[key])
        for entry in entries
        if entry.get("config") == config and isinstance(entry.get(key), int | float)
    ]
    return statistics.median(taken[-STARTS:]) if taken else None


def _objects(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue  # torn, or cut off at the beginning
        if isinstance(entry, dict):
            yield entry

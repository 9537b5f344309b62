"""Where models and nginx listen: this machine alone, and more once there is a key."""

from __future__ import annotations

from dataclasses import dataclass

from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.load import load_host
from spark_activator.cli import files
from spark_activator.errors import FileProblems
from spark_activator.http import keys
from spark_activator.layout import Layout
from spark_activator.render.units import LOOPBACK


@dataclass(frozen=True, slots=True)
class Reach:
    """What is listened on.

    Attributes:
        addresses: All of them, loopback first.
        note: Why they are not what host.yaml asks for; empty where they are.
    """

    addresses: tuple[str, ...] = (LOOPBACK,)
    note: str = ""


def reach(layout: Layout) -> Reach:
    """Say where to listen, by host.yaml and the keys that there are.

    A broken host.yaml changes nothing: then it is what was frozen last.
    """
    wanted = _settings(layout).listen
    if not wanted:
        return Reach()
    if not _has_keys(layout):
        return Reach(
            note=f"listen ({', '.join(wanted)}) waits for an API key, "
            "and all listen on 127.0.0.1 alone "
            "(run: sudo spark-model key add NAME, then: sudo spark-model apply)"
        )
    return Reach(tuple(dict.fromkeys((LOOPBACK, *wanted))))


def _settings(layout: Layout) -> HostSettings:
    try:
        return load_host(layout)
    except FileProblems:
        pass
    try:
        return frozen.load_host(files.read_ours(layout.frozen_host) or "{}")
    except FileProblems:
        return HostSettings()


def _has_keys(layout: Layout) -> bool:
    try:
        return bool(keys.read(files.read(layout.api_keys) or "").entries)
    except (PermissionError, UnicodeDecodeError):
        # Who may not see them only looks (`apply --dry-run`); who may mends it first.
        return False

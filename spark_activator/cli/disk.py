"""`spark-model disk`: what weights, caches and images take, and what nobody uses."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.tables import table
from spark_activator.cli.units import Units
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.catalog.model import Image
    from spark_activator.weights.inventory import Stored

UNKNOWN = "?"
NOBODY = "-"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    command(commands, "disk", "what weights, caches and images take", _run)


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator import hub
    from spark_activator.catalog.load import load_catalog, load_host
    from spark_activator.cli import wanted
    from spark_activator.weights import inventory

    catalog = load_catalog(layout)
    host = load_host(layout)
    models = wanted.all_models(layout, catalog)
    places = hub.places(host.hub_caches, layout.hub_cache)
    entries = inventory.stored(places, inventory.users(models))
    used: dict[Image, list[str]] = {}
    for model in models:
        if model.image is not None and model.name not in used.setdefault(model.image, []):
            used[model.image].append(model.name)
    _weights(entries)
    images = _images(host.docker_host, used)
    _caches(layout.state / "cache", images)
    _free({*places, str(layout.state)})
    _hints(entries, wanted.unreadable(layout, catalog))
    return 0


def _weights(entries: Iterable[Stored]) -> None:
    rows = [
        (
            entry.repository + _state(entry),
            _size(entry.size),
            ", ".join(entry.users) or NOBODY,
            entry.place,
        )
        for entry in entries
    ]
    if rows:
        print(table(("WEIGHTS", "SIZE", "MODELS", "CACHE"), rows))
    else:
        print("no weights in any hub cache")


def _state(entry: Stored) -> str:
    if entry.half_deleted:
        return " (half deleted)"
    return " (not whole)" if entry.partial else ""


def _images(docker_host: str | None, used: dict[Image, list[str]]) -> dict[str, str]:
    """Print images that models name and Docker has; return their names by digest and id."""
    from spark_activator.doctor import containers

    names: dict[str, str] = {}
    rows = []
    if not containers.may_ask(docker_host):
        print("\nimages are not known: only root may ask Docker (run: sudo spark-model disk)")
        return names
    try:
        found = _inspect(docker_host, list(used))
    except EngineFailed as failure:
        print(f"\nimages are not known: {failure.message}")
        return names
    for image, facts in found.items():
        for key in (image.digest, str(facts["Id"])):
            if key:
                names[key.removeprefix("sha256:")] = image.name
        taken = facts.get("Size")
        size = _size(taken if isinstance(taken, int) else None)
        rows.append((image.name, size, ", ".join(sorted(used[image])), image.pull_spec))
    if rows:
        print("\n" + table(("IMAGE", "SIZE", "MODELS", "REFERENCE"), sorted(rows)))
    return names


def _inspect(docker_host: str | None, images: list[Image]) -> dict[Image, dict[str, object]]:
    import trio

    from spark_activator.runner.dockerd import Dockerd, Missing

    async def ask() -> dict[Image, dict[str, object]]:
        dockerd = Dockerd(docker_host)
        if images and not dockerd.is_there:
            raise EngineFailed("docker_unavailable", "Docker is not there")
        found = {}
        for image in images:
            spec = image.pull_spec
            try:
                found[image] = await dockerd.call(
                    "look at images",
                    lambda api, spec=spec: api.inspect_image(spec),  # type: ignore[misc]  # a default has no type
                )
            except Missing:
                continue
        return found

    return trio.run(ask)


def _caches(parent: Path, images: dict[str, str]) -> None:
    from spark_activator.weights import inventory

    rows = []
    try:
        folders = sorted(path for path in parent.iterdir() if path.is_dir())
    except OSError:
        folders = []
    for path in folders:
        try:
            taken: int | None = inventory.size(path)
        except OSError:
            taken = None
        rows.append((path.name[:19], _size(taken), images.get(path.name, NOBODY)))
    if rows:
        print("\n" + table(("COMPILE CACHE", "SIZE", "IMAGE"), rows))


def _free(places: Iterable[str]) -> None:
    seen: dict[int, tuple[str, str, str]] = {}
    for place in sorted(places):
        there = Path(place)
        try:
            while not there.exists():
                there = there.parent
            room = os.statvfs(there)
            key = os.stat(there).st_dev
        except OSError:
            continue
        free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        seen.setdefault(key, (str(there), _size(free), _size(total)))
    print("\n" + table(("DISK OF", "FREE", "OF"), list(seen.values())))


def _hints(entries: Sequence[Stored], unreadable: Sequence[str]) -> None:
    if unreadable:
        names = ", ".join(unreadable)
        print(f"\nwhat {names} would use is not known: problems in the file (spark-model check)")
    orphans = [entry for entry in entries if not entry.users and entry.size]
    if orphans:
        total = sum(entry.size or 0 for entry in orphans)
        print(f"\nno model uses {_size(total)} of weights; to delete them:")
        for entry in orphans:
            mine = os.access(entry.place, os.W_OK)
            print(f"    {'' if mine else 'sudo '}rm -r {shlex.quote(str(entry.path))}")
    for entry in entries:
        if entry.partial and entry.users:
            print(f"\n{entry.repository} is not whole (run: spark-model pull {entry.users[0]})")
    if any(entry.size is None for entry in entries):
        print(f"\n{UNKNOWN}: not ours to look into; use sudo")


def _size(count: int | None) -> str:
    from spark_activator.weights.place import size

    return UNKNOWN if count is None else size(count)

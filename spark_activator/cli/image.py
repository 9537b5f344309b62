"""`spark-model image`: container images: list, build, pull, verify."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.tables import table
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.catalog.images import Entry
    from spark_activator.cli.image_docker import Docker, Found

# The catalog reads YAML, and Docker's SDK takes a tenth of a second to import: both
# are imported where they are needed, since every command loads this module.


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    text = "container images: list, build, pull, verify"
    parser = commands.add_parser("image", help=text, description=text)
    subs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command(subs, "list", "every image that model files may name", _list)

    sub = command(subs, "pull", "get images from where they are published", _pull)
    sub.add_argument("names", nargs="+", metavar="NAME")

    sub = command(subs, "build", "build images on this machine", _build)
    sub.add_argument("names", nargs="+", metavar="NAME")
    sub.add_argument("--base", metavar="IMAGE", help="build on this one (the argument BASE)")
    sub.add_argument(
        "--build-arg", action="append", default=[], type=_pair, metavar="NAME=VALUE",
        help="another argument of its Dockerfile; may be there several times",
    )  # fmt: skip
    sub.add_argument("--no-cache", action="store_true", help="do each step again")

    sub = command(subs, "verify", "whether images are what they should be", _verify)
    sub.add_argument("names", nargs="*", metavar="NAME", help="default: all that are here")


def ensure(layout: Layout, name: str) -> None:
    """Have image *name* here, pulled or built; returns at once where it is.

    Raises:
        UserError: There is no such image, or it cannot be had.
    """
    entry = _entries(layout, [name])[0]
    with _docker(layout) as docker:
        if docker.find(entry.image) is not None:
            return
        if entry.build is None:
            pull(layout, docker, entry)
        else:
            build(layout, docker, entry, {}, no_cache=False)


def pull(layout: Layout, docker: Docker, entry: Entry) -> None:
    """Pull *entry*, and remember what came.

    Raises:
        UserError: It is built here, cannot be had, or does not fit on the disk.
    """
    image = entry.image
    if entry.build is not None:
        raise UserError(
            f"'{image.name}' is published nowhere: it is built on this machine",
            hint=f"run: spark-model image build {image.name}",
        )
    print(f"{image.name}: pulling {image.pull_spec}{docker.room()}")
    found = docker.pull(image)
    _remember(layout, entry, found)
    print(f"{image.name}: here, {_size(found.size)}")
    if image.digest is None:
        print(f"{image.name}: not pinned; what came is {found.digest or found.id}")


def build(
    layout: Layout, docker: Docker, entry: Entry, arguments: dict[str, str], *, no_cache: bool
) -> None:
    """Build *entry* from its folder, and remember what came of it.

    Raises:
        UserError: It is not built here, or a step fails.
    """
    from spark_activator.cli import image_context

    name = entry.image.name
    if entry.build is None:
        raise UserError(
            f"'{name}' is not built on this machine: it is published",
            hint=f"run: spark-model image pull {name}",
        )
    context = image_context.read(layout.image_folders / entry.build)
    print(f"{name}: building from {layout.image_folders / entry.build}{docker.room()}")
    labels = context.labels(name, arguments)
    docker.build(context.tar(), entry.image.reference, arguments, labels=labels, no_cache=no_cache)
    found = docker.find(entry.image)
    assert found is not None
    _remember(layout, entry, found)
    print(f"{name}: here, {_size(found.size)}")


def _list(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    rows = []
    with _docker(layout) as docker:
        for entry in _entries(layout, []):
            found = docker.find(entry.image)
            size = _size(found.size) if found else "-"
            way = "build" if entry.build else "pull"
            rows.append((entry.image.name, size, way, entry.serves or "-", entry.summary or "-"))
    print(table(("NAME", "HERE", "COMES BY", "SERVES", "FOR"), rows))
    return 0


def _pull(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    entries = _entries(layout, arguments.names)
    with _docker(layout) as docker:
        for entry in entries:
            pull(layout, docker, entry)
    return 0


def _build(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    entries = _entries(layout, arguments.names)
    given = dict(arguments.build_arg)
    if arguments.base is not None:
        given["BASE"] = arguments.base
    with _docker(layout) as docker:
        for entry in entries:
            build(layout, docker, entry, given, no_cache=arguments.no_cache)
    return 0


def _verify(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import image_verify

    wrong = False
    with _docker(layout) as docker:
        for entry in _entries(layout, arguments.names):
            found = docker.find(entry.image)
            if found is None and not arguments.names:
                continue
            verdict = image_verify.judge(entry, found, _remembered(layout, entry), layout)
            print(f"{entry.image.name}: {verdict.says}")
            wrong = wrong or not verdict.good
    return int(wrong)


def _entries(layout: Layout, names: list[str]) -> list[Entry]:
    """Return the images of these names, all where there are none."""
    from spark_activator.catalog.load import load_image_entries

    known, problems = load_image_entries(layout)
    for name in names:
        if name not in known:
            own = [str(problem) for problem in problems if problem.key.split(".")[0] == name]
            raise UserError(
                own[0] if own else f"there is no image '{name}'", hint="see: spark-model image list"
            )
    return [known[name] for name in names or sorted(known)]


def _docker(layout: Layout) -> Docker:
    from spark_activator.catalog.load import load_host
    from spark_activator.cli.image_docker import Docker

    return Docker(load_host(layout).docker_host)


def _remember(layout: Layout, entry: Entry, found: Found) -> None:
    path = layout.pulled_image(entry.image.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    record = {
        "reference": entry.image.reference,
        "digest": found.digest,
        "id": found.id,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    beside.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(beside, path)


def _remembered(layout: Layout, entry: Entry) -> dict[str, object]:
    """Return what the last pull or build got; empty where there was none."""
    try:
        record = json.loads(Path(layout.pulled_image(entry.image.name)).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _size(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value

"""`spark-model apply`: freeze every model that is not disabled, and write its port for systemd.

A model that is switched on is left as it is: what it runs changes when its
owner says so (`spark-model update NAME`), never because a file or a package did.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spark_activator.catalog.load import Catalog, load_catalog, load_ports, store_ports
from spark_activator.catalog.model import Model, StatusKind
from spark_activator.cli import freeze, models, routes
from spark_activator.cli.reach import reach
from spark_activator.cli.units import Units
from spark_activator.layout import Layout
from spark_activator.render.changes import Change, diff
from spark_activator.render.units import NGINX_SERVICE, socket_unit


@dataclass(frozen=True, slots=True)
class Step:
    """What is done for one model, and what is said of it.

    Attributes:
        name: The model.
        todo: Changes that are made now.
        left: Why others are not; empty where there are none.
    """

    name: str
    todo: tuple[Change, ...]
    left: str = ""


def run(layout: Layout, units: Units, *, dry_run: bool) -> int:
    """Do it, or show what it would do.

    Returns:
        0, or 1 when a file has problems; all other models are done all the same.

    Raises:
        UserError: The files may not be written.
    """
    if not dry_run:
        freeze.require_rights(layout, units, command="apply")
    catalog = load_catalog(layout)
    listen = reach(layout)
    steps = plan(layout, units, catalog, listen.addresses)
    host, host_problems = freeze.host_settings(layout)
    problems = [*host_problems, *catalog.problems]
    if host or listen.note:
        steps.insert(0, Step("host settings", host, listen.note))
    steps += _nginx(layout, units, listen.addresses)
    for problem in problems:
        print(problem, file=sys.stderr)
    if dry_run:
        print(diff(change for step in steps for change in step.todo), end="")
        _say_left(steps)
    else:
        _act(layout, units, catalog, steps)
    return 1 if problems else 0


def plan(layout: Layout, units: Units, catalog: Catalog, listen: Sequence[str]) -> list[Step]:
    """Decide about every model that is in the catalog or was frozen before."""
    usable = {
        name: model
        for name, model in catalog.models.items()
        if model.status.kind is not StatusKind.DISABLED
    }
    steps = [one(layout, units, usable[name], listen) for name in sorted(usable)]
    # What runs of a model whose file is broken goes on as it was frozen.
    broken = set(catalog.files) - set(catalog.models)
    gone = set(models.names(layout)) - set(usable) - broken
    steps += [_gone(layout, units, name) for name in sorted(gone)]
    return [step for step in steps if step.todo or step.left]


def one(layout: Layout, units: Units, model: Model, listen: Sequence[str]) -> Step:
    """Decide about *model*: of one that is switched on only what was never written."""
    changes = freeze.pending(layout, units, model, listen)
    if not changes or not _settled(units, model.name):
        return Step(model.name, changes)
    # Switched on, but never frozen: it cannot run, so nothing is taken from it.
    first = tuple(
        change for change in changes if freeze.is_frozen_file(layout, change) and change.old is None
    )
    left = ""
    if len(first) < len(changes):
        left = f"pending (run: sudo spark-model update {model.name})"
    return Step(model.name, first, left)


def _gone(layout: Layout, units: Units, name: str) -> Step:
    if not _settled(units, name):
        return Step(name, freeze.removal(layout, units, name))
    unit = socket_unit(name)
    return Step(name, (), f"disabled or without a file (run: sudo systemctl disable --now {unit})")


def _nginx(layout: Layout, units: Units, listen: Sequence[str]) -> list[Step]:
    changes = freeze.nginx(layout, units, listen)
    if not changes:
        return []
    if units.active(NGINX_SERVICE):
        return [Step("nginx", (), "pending (run: sudo spark-model update --nginx)")]
    return [Step("nginx", changes)]


def _settled(units: Units, name: str) -> bool:
    # A listening socket whose drop-in changes would, after the next
    # daemon-reload, be active and listen on nothing.
    return units.enabled(name) or units.listening(name)


def _act(layout: Layout, units: Units, catalog: Catalog, steps: Iterable[Step]) -> None:
    if catalog.ports != load_ports(layout):
        store_ports(layout, catalog.ports)
    wrote = False
    for step in steps:
        freeze.carry_out(layout, step.todo)
        for change in step.todo:
            wrote = True
            print(f"{step.name}: {change.verb} {change.path}")
    _say_left(steps)
    if wrote:
        routes.follow(layout, units)
    else:
        print("nothing to write")


def _say_left(steps: Iterable[Step]) -> None:
    for step in steps:
        if step.left:
            print(f"{step.name}: {step.left}")

"""`spark-model enable`: switch a model on, with all that it needs (needs root).

Doctor, file, image, weights, units, socket: each step is skipped where it is done,
so that whoever was interrupted types the same again.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.catalog.load import Catalog
    from spark_activator.catalog.model import Model
    from spark_activator.doctor.checks import Finding

GIB = 1 << 30
# Assumed, not measured; the sentence says so.
READ_RATE = GIB

# Checks that say nothing of a model that needs no container.
_CONTAINER_CHECKS = frozenset({"docker", "gpu-devices", "driver", "seed"})


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    sub = command(
        commands, "enable", "switch a model on, with all that it needs (needs root)", _run
    )
    sub.add_argument("name", metavar="NAME")


# Each step imports what it needs when it is called: the parser is built for every command.


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.catalog.load import load_catalog
    from spark_activator.cli import freeze, image, pull, routes
    from spark_activator.render.units import socket_unit

    name: str = arguments.name
    catalog = load_catalog(layout)
    model = _wanted(layout, catalog, name)
    freeze.require_rights(layout, units, command=f"enable {name}", can_try=False)
    _examine(layout, units, model)
    if model.image is not None:
        image.ensure(layout, model.image.name)
        pull.ensure(layout, model)
    _write(layout, units, catalog, model)
    socket = socket_unit(name)
    _switch_on(units, name, socket)
    routes.follow(layout, units)
    print(f"'{name}' is on: port {model.port}, and http://127.0.0.1:8009/v1 as '{name}'")
    print(first_start(layout, model))
    print(f'try it: spark-model chat {name} "Hello"')
    return 0


def _wanted(layout: Layout, catalog: Catalog, name: str) -> Model:
    from spark_activator.catalog.model import StatusKind
    from spark_activator.cli import wanted

    model = wanted.find(layout, catalog, name)
    if model.name != name:
        raise UserError(
            f"'{name}' is a name of '{model.name}'",
            hint=f"run: sudo spark-model enable {model.name}",
        )
    if model.status.kind is StatusKind.DISABLED:
        raise UserError(f"'{name}' is disabled: {model.status.reason}")
    return model


def _examine(layout: Layout, units: Units, model: Model) -> None:
    """Say what is wrong with the machine.

    Raises:
        UserError: With this the model cannot start.
    """
    from spark_activator.cli import doctor
    from spark_activator.doctor import checks

    found = [
        finding
        for finding in checks.examine(layout, units)
        if finding.level == "problem" and _concerns(finding, model)
    ]
    for finding in found:
        print(doctor.line(finding), file=sys.stderr)
    blocking = [finding for finding in found if _blocks(finding, model)]
    if blocking:
        raise UserError(f"'{model.name}' cannot start: {blocking[0].says}", hint=blocking[0].mend)
    # Of a model that is off, the taken port is only a note to the doctor.
    _require_port(layout, units, model)


def _concerns(finding: Finding, model: Model) -> bool:
    return model.image is not None or finding.check not in _CONTAINER_CHECKS


def _blocks(finding: Finding, model: Model) -> bool:
    return finding.check == "docker" and model.image is not None


def _require_port(layout: Layout, units: Units, model: Model) -> None:
    """Insist that nobody else listens on the port of *model*."""
    from spark_activator.doctor import serving, world
    from spark_activator.doctor.facts import Listener

    addresses = world.ports_in_use(layout).get(model.port)
    if not addresses or units.listening(model.name):
        return
    taken = Listener(
        model.name,
        model.port,
        tuple(addresses),
        ours=False,
        enabled=units.enabled(model.name),
        holder=world.holder(layout, model.port),
    )
    raise UserError(serving.port_taken(taken), hint=serving.free_port(taken))


def _write(layout: Layout, units: Units, catalog: Catalog, model: Model) -> None:
    from spark_activator.catalog.load import load_ports, store_ports
    from spark_activator.cli import apply, freeze
    from spark_activator.cli.reach import reach

    if catalog.ports != load_ports(layout):
        store_ports(layout, catalog.ports)
    host, problems = freeze.host_settings(layout)
    for problem in problems:
        print(problem, file=sys.stderr)
    step = apply.one(layout, units, model, reach(layout).addresses)
    freeze.carry_out(layout, (*host, *step.todo))
    for change in (*host, *step.todo):
        print(f"{change.verb} {change.path}")
    if step.left:
        print(f"it runs as it was frozen before, its file has changed: {step.left}")


def _switch_on(units: Units, name: str, socket: str) -> None:
    # Not `enable --now`: that reloads the manager, which on some machines takes the
    # GPU from running containers.  `start` reads new drop-ins by itself.
    if not units.enabled(name):
        units.call("--no-reload", "enable", socket)
    if not units.listening(name):
        if units.outdated(socket):
            units.call("daemon-reload")
        units.call("start", socket)


def first_start(layout: Layout, model: Model) -> str:
    """Say how far the start is, or how long the next one will take and how that is known."""
    from spark_activator.catalog import frozen
    from spark_activator.cli import models, tables
    from spark_activator.runner import history
    from spark_activator.weights.place import size

    state = models.read_state(layout, model.name)
    if state is not None:
        # What it takes is written to the history only when it has ended.
        return f"it has been asked for already: {state.sentence()}"
    entries = history.read_last(layout.history(model.name))
    known = history.typical_start(entries, frozen.config_hash(model))
    if known is not None:
        return f"a start takes about {tables.span(max(1.0, known))}, as the last ones did"
    limit = tables.span(model.timeouts.start)
    if model.sizing is None:
        return f"it has not started here yet: the first start may take up to {limit}"
    read = model.sizing.weights / READ_RATE
    return (
        f"it has not started here yet; an estimate: {tables.span(max(1.0, read))} to read "
        f"{size(model.sizing.weights)} of weights at an assumed 1 GiB/s, and what the "
        f"engine compiles the first time, which is often longer; it is given up after {limit}"
    )

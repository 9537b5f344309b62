"""`spark-model update NAME`: show what its file has changed for a model, and make it so.

A port cannot change under a listening socket.  Then the units stop, services
first, so that nothing is refused which could be drained; and start again.
"""

from __future__ import annotations

import sys

from spark_activator.catalog.load import load_catalog
from spark_activator.catalog.model import Model, StatusKind
from spark_activator.cli import freeze, models, routes
from spark_activator.cli.reach import reach
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout
from spark_activator.render.changes import Change, diff
from spark_activator.render.units import (
    NGINX_SERVICE,
    NGINX_SOCKET,
    service_units,
    socket_unit,
)


def run(layout: Layout, units: Units, *, name: str, dry_run: bool) -> int:
    """Do it, or only show it.

    Raises:
        UserError: There is no such model, its file has problems, or it may not be written.
    """
    model = _wanted(layout, name)
    changes = freeze.pending(layout, units, model, reach(layout).addresses)
    if not changes:
        print(f"{name} is up to date")
        return 0
    print(diff(changes), end="")
    if dry_run:
        return 0
    freeze.require_rights(layout, units, command=f"update {name}")
    _carry_out(layout, units, name, changes)
    routes.follow(layout, units)
    _say_done(layout, name)
    return 0


def run_nginx(layout: Layout, units: Units, *, dry_run: bool) -> int:
    """Have nginx listen where host.yaml says; what it serves drains first.

    Raises:
        UserError: It may not be written, or systemd refuses.
    """
    listen = reach(layout)
    changes = freeze.nginx(layout, units, listen.addresses)
    if listen.note:
        print(f"host settings: {listen.note}")
    if not changes:
        print("nginx is up to date")
        return 0
    print(diff(changes), end="")
    if dry_run:
        return 0
    freeze.require_rights(layout, units, command="update --nginx")
    socket = [NGINX_SOCKET] if units.active(NGINX_SOCKET) else []
    units.call("stop", NGINX_SERVICE, *socket)
    freeze.carry_out(layout, changes)
    units.call("daemon-reload")
    units.call("start", NGINX_SERVICE)
    print(f"nginx listens on {', '.join(listen.addresses)}")
    return 0


def _wanted(layout: Layout, name: str) -> Model:
    catalog = load_catalog(layout)
    model = catalog.models.get(name)
    if model is None:
        for problem in catalog.problems:
            print(problem, file=sys.stderr)
        raise UserError(
            f"there is no usable model file for '{name}'", hint="see: spark-model check"
        )
    if model.status.kind is StatusKind.DISABLED:
        raise UserError(f"'{name}' is disabled: {model.status.reason}")
    return model


def _carry_out(layout: Layout, units: Units, name: str, changes: tuple[Change, ...]) -> None:
    socket = socket_unit(name)
    listening = units.listening(name)
    if listening and any(freeze.of_socket(change) for change in changes):
        # One transaction: the order of the units has streams drain before the engine
        # goes, and the socket closes last.
        units.call("stop", *service_units(name), socket)
        freeze.carry_out(layout, changes)
        units.call("daemon-reload")
        units.call("start", socket)
        return
    freeze.carry_out(layout, changes)
    if listening and not all(freeze.is_frozen_file(layout, change) for change in changes):
        units.call("daemon-reload")


def _say_done(layout: Layout, name: str) -> None:
    print(f"{name} is updated")
    if models.read_state(layout, name):
        print(f"it runs as before until it stops (now: spark-model stop {name})")

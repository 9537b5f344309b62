"""`spark-model remove NAME [--weights]`: switch a model off and take its files away.

The catalog's file stays, since an installation has it; so does the owner's, unless
`--file` is given.  Weights go only where no other model uses them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.catalog.load import Catalog
    from spark_activator.catalog.model import Model
    from spark_activator.weights.inventory import Stored


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    sub = command(
        commands, "remove", "switch a model off and take its files away (needs root)", _run
    )
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--weights", action="store_true", help="also delete its weights")
    sub.add_argument("--file", action="store_true", help="also delete your own file of it")
    sub.add_argument("--yes", action="store_true", help="do not ask")


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.catalog.load import load_catalog
    from spark_activator.cli import freeze, models, wanted

    name = arguments.name
    catalog = load_catalog(layout)
    frozen = models.names(layout)
    if name not in catalog.files and name not in frozen:
        _refuse(name, wanted.find(layout, catalog, name))
    freeze.require_rights(layout, units, command=f"remove {name}", can_try=False)
    entries = _weights(layout, catalog, name)
    if arguments.weights:
        _require_users_known(layout, catalog, name)
    going = [entry for entry in entries if arguments.weights and not _others(entry, name)]
    if going and not arguments.yes:
        _confirm(name, going)
    _switch_off(layout, units, name)
    _file(layout, units, name, delete=arguments.file)
    for entry in entries:
        if arguments.weights:
            _delete(entry, name)
        else:
            print(f"its weights stay: {entry.path} (sudo spark-model remove {name} --weights)")
    if arguments.weights:
        layout.pulled(name).unlink(missing_ok=True)
        if not entries:
            print("it has no weights in a hub cache")
    return 0


def _refuse(name: str, model: Model) -> NoReturn:
    # What deletes files takes the name that the file has, as `enable` does.
    raise UserError(
        f"'{name}' is a name of '{model.name}'",
        hint=f"run: sudo spark-model remove {model.name}",
    )


def _switch_off(layout: Layout, units: Units, name: str) -> None:
    from spark_activator.cli import models
    from spark_activator.render.units import service_units, socket_unit

    socket = socket_unit(name)
    enabled = units.enabled(name)
    runs = units.listening(name) or models.read_state(layout, name) is not None
    if enabled:
        units.call("disable", socket)
    if runs:
        # One transaction: the order of the units has streams drain before the engine goes.
        units.call("stop", *service_units(name), socket)
    print(f"{name} is switched off" if enabled or runs else f"{name} was not switched on")


def _file(layout: Layout, units: Units, name: str, *, delete: bool) -> None:
    """Say which file of the model remains, and take away what nothing is left of."""
    from spark_activator.cli import freeze, routes

    own = layout.owner_models / f"{name}.yaml"
    vendor = layout.vendor_models / f"{name}.yaml"
    if delete and own.exists():
        own.unlink()
        print(f"removed {own}")
    if own.exists():
        print(f"its file stays: {own} (delete it with: sudo spark-model remove {name} --file)")
    elif vendor.exists():
        print(f"its file stays in the catalog: {vendor}")
        if delete:
            print("what runs is as your file had it (run: sudo spark-model apply)")
    else:
        freeze.carry_out(layout, freeze.removal(layout, units, name))
        routes.follow(layout, units)


def _weights(layout: Layout, catalog: Catalog, name: str) -> list[Stored]:
    from spark_activator import hub
    from spark_activator.catalog.load import load_host
    from spark_activator.cli import wanted
    from spark_activator.weights import inventory

    used = inventory.users(wanted.all_models(layout, catalog))
    places = hub.places(load_host(layout).hub_caches, layout.hub_cache)
    return [entry for entry in inventory.stored(places, used) if name in entry.users]


def _require_users_known(layout: Layout, catalog: Catalog, name: str) -> None:
    from spark_activator.cli import wanted

    broken = [other for other in wanted.unreadable(layout, catalog) if other != name]
    if broken:
        raise UserError(
            f"the weights may be those of {', '.join(broken)} too, whose files have problems",
            hint="mend them (see: spark-model check), or leave out --weights",
        )


def _others(entry: Stored, name: str) -> Sequence[str]:
    return [user for user in entry.users if user != name]


def _confirm(name: str, going: Sequence[Stored]) -> None:
    from spark_activator.weights.place import size

    total = size(sum(entry.size or 0 for entry in going))
    names = ", ".join(str(entry.path) for entry in going)
    if not sys.stdin.isatty():
        raise UserError(
            f"would delete {names} ({total}), and there is nobody to ask", hint="add --yes"
        )
    if input(f"delete {names} ({total})? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError(f"'{name}' is left as it is")


def _delete(entry: Stored, name: str) -> None:
    from spark_activator.weights import inventory
    from spark_activator.weights.place import size

    others = _others(entry, name)
    if others:
        print(f"{entry.path} stays: {', '.join(others)} use{'s' if len(others) == 1 else ''} it")
        return
    freed = inventory.delete(entry)
    print(f"removed {entry.path}: {size(freed)} are free again")

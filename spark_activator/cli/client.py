"""`spark-model client`: the configuration of a client for the enabled models."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence

from spark_activator.catalog.model import Model, StatusKind
from spark_activator.cli import models
from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import FileProblems, UserError
from spark_activator.layout import Layout

# A name, an IPv4 or an IPv6 address; a password would come into files that are passed on.
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?"
)


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    sub = command(commands, "client", "the configuration of a client for the enabled models", _run)
    sub.add_argument("client", metavar="CLIENT", help="such as opencode; all: docs/integrations.md")
    sub.add_argument("--all", action="store_true", help="every model of the catalog")
    sub.add_argument(
        "--main", metavar="NAME", help="the model for the work; default: one is chosen"
    )
    sub.add_argument(
        "--url", type=_url, metavar="URL", help="where nginx is asked; default: this machine"
    )


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    # Few commands need them, and all load this module.
    from spark_activator.render.clients.texts import CLIENTS
    from spark_activator.render.clients.told import URL, choose, issues

    client = CLIENTS.get(arguments.client)
    if client is None:
        near = difflib.get_close_matches(arguments.client, CLIENTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(CLIENTS)}"
        raise UserError(f"no client '{arguments.client}' is known", hint=hint)
    found = _catalog(layout) if arguments.all else _enabled(layout, units)
    main = arguments.main or _default(layout)
    told = choose(found, url=arguments.url or URL, default=main)
    if told is None:
        raise UserError(
            "no model that chats is enabled",
            hint="run: sudo spark-model enable NAME, or add --all to see every model",
        )
    if arguments.main is not None and arguments.main not in told.main.names:
        known = ", ".join(model.name for model in told.models)
        raise UserError(f"'{arguments.main}' is none of the models: {known}")
    sys.stdout.write(client.text(told))
    # Beside the text, which is alone on standard output so that it can become a file.
    print(f"# for {client.name}: {client.place}", file=sys.stderr)
    if client.format == "json":
        for model in told.models:
            for line in issues(model, arguments.client):
                print(f"# {model.name}: {line}", file=sys.stderr)
    return 0


def _enabled(layout: Layout, units: Units) -> Sequence[Model]:
    found = []
    for name in models.names(layout):
        if (layout.markers / name).exists() or units.enabled(name):
            try:
                found.append(models.load(layout, name))
            except models.UnknownModel:
                continue  # taken away since it was named
            except FileProblems as error:
                print(f"# {name}: left out: {error.message}", file=sys.stderr)
    return found


def _catalog(layout: Layout) -> Sequence[Model]:
    from spark_activator.catalog.load import load_catalog

    known = load_catalog(layout).models.values()
    return [model for model in known if model.status.kind is not StatusKind.DISABLED]


def _default(layout: Layout) -> str | None:
    from spark_activator.catalog.load import load_host

    try:
        return load_host(layout).default_model
    except FileProblems:
        # `spark-model check` says what is wrong with it.
        return None


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected a URL such as http://spark:8009, got {text!r}")
    return text

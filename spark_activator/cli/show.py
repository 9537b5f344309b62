"""`spark-model show`: what is known of one model, where it comes from, and what of it is here."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator

from spark_activator import hub
from spark_activator.catalog import frozen
from spark_activator.catalog.model import Model, StatusKind
from spark_activator.catalog.repositories import repositories
from spark_activator.cli import files, models
from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import FileProblems
from spark_activator.layout import Layout
from spark_activator.render import model_words

WIDTH = 96
# The longest label, and what stands before the text of its neighbours.
LABEL = max(map(len, ("known problem", "on this machine"))) + 2


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    sub = command(commands, "show", "what is known of one model, and where it comes from", _run)
    sub.add_argument("name", metavar="NAME", help="its name, an alias or a preset of it")
    sub.add_argument(
        "--resolved",
        action="store_true",
        help="its whole file as JSON, with what it extends and every default",
    )


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.catalog.load import load_catalog
    from spark_activator.cli import wanted

    catalog = load_catalog(layout)
    try:
        model = wanted.find(layout, catalog, arguments.name)
    except models.Retired as why:
        # That is what is known of it: whoever asked has the answer.
        print(f"{why.message}; {why.hint}" if why.hint else why.message)
        return 0
    if arguments.resolved:
        print(frozen.dump(model), end="")
        return 0
    file = catalog.files.get(model.name, "")
    print(text(model, [*_here(layout, units, model, file)]))
    return 0


def text(model: Model, here: list[str]) -> str:
    """Lay out what is known of *model*, and what of it is *here*, for a terminal."""
    lines = [model.name if not model.summary else f"{model.name}: {model.summary}"]
    facts = [("status", model_words.status(model.status)), *model_words.facts(model)]
    facts += [("known problem", issue) for issue in model.issues]
    facts += [("on this machine", words) for words in here]
    for label, words in facts:
        if words:
            before = f"{label:>{LABEL}}: "
            lines += textwrap.wrap(
                words,
                WIDTH,
                initial_indent=before,
                subsequent_indent=" " * len(before),
                break_long_words=False,
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def _here(layout: Layout, units: Units, model: Model, file: str) -> Iterator[str]:
    whose = "the catalog's" if model.vendor else "yours"
    yield f"file: {file} ({whose})"
    if model.status.kind is StatusKind.DISABLED:
        return
    yield f"applied: {_applied(layout, model)}"
    if layout.frozen(model.name).exists():
        yield f"now: {models.look(layout, units, model.name).sentence}"
    yield from _weights(layout, model)
    yield from _pulled(layout, model)


def _applied(layout: Layout, model: Model) -> str:
    text = files.read_ours(layout.frozen(model.name))
    if text is None:
        return "no (run: sudo spark-model apply)"
    return "yes" if text == frozen.dump(model) else f"differs ({_see(model)})"


def _see(model: Model) -> str:
    return f"see: spark-model update {model.name} --dry-run"


def _weights(layout: Layout, model: Model) -> Iterator[str]:
    """Say where the weights are, as the runner would find them."""
    from spark_activator.catalog.load import load_host

    try:
        places = hub.places(load_host(layout).hub_caches, layout.hub_cache)
    except FileProblems:
        yield "weights: not known, host.yaml is not right"
        return
    for repository, revision in repositories(model):
        seen = {place: hub.has(place, repository, revision) for place in places}
        there = [place for place in places if seen[place]]
        unknown = [place for place in places if seen[place] is None]
        if there:
            where = f"whole in {there[0]}"
        elif unknown:
            where = f"not known, {unknown[0]} may not be read (try sudo)"
        else:
            where = f"not whole in any hub cache (run: sudo spark-model pull {model.name})"
        yield f"weights of {repository}: {where}"


def _pulled(layout: Layout, model: Model) -> Iterator[str]:
    """Say what the last pull got, whatever it recorded."""
    try:
        record = json.loads(files.read_ours(layout.pulled(model.name)) or "{}")
    except ValueError:
        record = {}
    if record:
        yield f"last pull: {json.dumps(record, sort_keys=True)}"

"""`spark-model routes`: write the list that nginx routes by, from markers and frozen models."""

from __future__ import annotations

import sys

from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings
from spark_activator.cli import files, models
from spark_activator.cli.units import Units
from spark_activator.errors import FileProblems
from spark_activator.layout import Layout
from spark_activator.render.routes import routes
from spark_activator.render.units import MODELS_PATH, MODELS_SERVICE

# Exists as long as the list is older than the markers; spark-models.path waits for it.
STALE = ".stale"
# The run that had begun, ours, and one for whom a socket made the file again.
_MOST_RUNS = 3


def run(layout: Layout) -> int:
    """Write it; what is broken is said, and left out."""
    # First: what changes from here on makes the file anew and has us started again.
    (layout.markers / STALE).unlink(missing_ok=True)
    listed = []
    for name in models.names(layout):
        try:
            listed.append(models.load(layout, name))
        except models.UnknownModel:
            continue  # taken away since it was named; that has us started again
        except FileProblems as error:
            print(f"<4>{name}: left out: {error.message}", file=sys.stderr)
    listening = {model.name for model in listed if (layout.markers / model.name).exists()}
    text = routes(listed, listening, _host(layout), _retired(layout))
    if files.read_ours(layout.routes_file) != text:
        files.write(layout.routes_file, text)
    return 0


def _host(layout: Layout) -> HostSettings:
    text = files.read_ours(layout.frozen_host)
    if text is None:
        return HostSettings()
    try:
        return frozen.load_host(text, file=str(layout.frozen_host))
    except FileProblems as error:
        print(f"<4>host settings: left at their defaults: {error.message}", file=sys.stderr)
        return HostSettings()


def _retired(layout: Layout) -> dict[str, dict[str, str | None]]:
    # It reads YAML, and every command loads this module.
    from spark_activator.catalog.load import load_retired

    known, problems = load_retired(layout)
    for problem in problems:
        print(f"<4>retired names: {problem}", file=sys.stderr)
    return {name: {"reason": why.reason, "instead": why.instead} for name, why in known.items()}


def follow(layout: Layout, units: Units) -> None:
    """Have nginx's list written anew, where units that do so are running, and wait for it.

    Whoever applied a model may ask for it at once, and must not be told that there is none.

    Raises:
        UserError: It cannot be written.
    """
    if not layout.markers.is_dir():
        return
    stale = layout.markers / STALE
    stale.touch()
    if not units.active(MODELS_PATH):
        return
    # A run that had begun before, and ends now, has read the old models; it left the
    # file there, or it was made by a socket meanwhile, which nobody waits for.
    for _ in range(_MOST_RUNS):
        units.call("start", MODELS_SERVICE)
        if not stale.exists():
            return

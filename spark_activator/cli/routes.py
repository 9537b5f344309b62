"""`spark-model routes`: write the list that nginx routes by, from markers and frozen models."""

from __future__ import annotations

import sys

from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings
from spark_activator.cli import files, models
from spark_activator.errors import FileProblems
from spark_activator.layout import Layout
from spark_activator.render.routes import routes

# Exists as long as the list is older than the markers; spark-models.path waits for it.
STALE = ".stale"


def run(layout: Layout) -> int:
    """Write it; what is broken is said, and left out."""
    # First: what changes from here on makes the file anew and has us started again.
    (layout.markers / STALE).unlink(missing_ok=True)
    listed = []
    for name in models.names(layout):
        try:
            listed.append(models.load(layout, name))
        except FileProblems as error:
            print(f"<4>{name}: left out: {error.message}", file=sys.stderr)
    listening = {model.name for model in listed if (layout.markers / model.name).exists()}
    text = routes(listed, listening, _host(layout))
    if files.read(layout.routes_file) != text:
        files.write(layout.routes_file, text)
    return 0


def _host(layout: Layout) -> HostSettings:
    text = files.read(layout.frozen_host)
    if text is None:
        return HostSettings()
    try:
        return frozen.load_host(text, file=str(layout.frozen_host))
    except FileProblems as error:
        print(f"<4>host settings: left at their defaults: {error.message}", file=sys.stderr)
        return HostSettings()


def mark_stale(layout: Layout) -> None:
    """Have the list written anew, where units that do so are running."""
    if layout.markers.is_dir():
        (layout.markers / STALE).touch()

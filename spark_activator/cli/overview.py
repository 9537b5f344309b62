"""`spark-model list`: every model that may run, one line each."""

from __future__ import annotations

import json

from spark_activator.cli import models, tables
from spark_activator.cli.units import Units
from spark_activator.layout import Layout


def run(layout: Layout, units: Units, *, as_json: bool) -> int:
    """Print it."""
    situations = models.look_at_all(layout, units)
    if as_json:
        print(json.dumps([situation.as_json() for situation in situations], indent=1))
        return 0
    if not situations:
        print("no models (run: sudo spark-model apply)")
        return 0
    rows = [
        (
            situation.name,
            str(situation.model.port) if situation.model else "-",
            "yes" if situation.enabled else "no",
            situation.sentence,
            situation.model.summary if situation.model else "",
        )
        for situation in situations
    ]
    print(tables.table(("MODEL", "PORT", "ENABLED", "STATE", "SUMMARY"), rows))
    return 0

"""`spark-model status [NAME]`: where models are, what they wait for and since when."""

from __future__ import annotations

import json

from spark_activator.catalog.quantities import format_size
from spark_activator.cli import models, tables
from spark_activator.cli.models import Situation
from spark_activator.cli.units import Units
from spark_activator.layout import Layout
from spark_activator.runner.footprint import Footprint
from spark_activator.state import State


def run(layout: Layout, units: Units, *, name: str | None, as_json: bool) -> int:
    """Print it for *name*, or for every model that has a runner.

    Raises:
        UserError: There is no such model.
    """
    if name is None:
        return _everything(layout, units, as_json=as_json)
    models.require(layout, name)
    situation = models.look(layout, units, name)
    print(json.dumps(situation.as_json(), indent=1) if as_json else _details(situation))
    return 0


def _everything(layout: Layout, units: Units, *, as_json: bool) -> int:
    situations = models.look_at_all(layout, units)
    if as_json:
        print(json.dumps([situation.as_json() for situation in situations], indent=1))
        return 0
    running = [situation for situation in situations if situation.state]
    if running:
        rows = [
            (situation.name, tables.span(situation.elapsed), situation.sentence)
            for situation in running
        ]
        print(tables.table(("MODEL", "SINCE", "STATE"), rows))
    else:
        listening = sum(situation.listening for situation in situations)
        print(f"no model is running, {listening} of {len(situations)} listen")
    return 0


def _details(situation: Situation) -> str:
    model = situation.model
    lines = []
    if model:
        lines.append(("Summary", model.summary))
        socket = "listening" if situation.listening else "not listening"
        enabled = "enabled" if situation.enabled else "not enabled"
        lines.append(("Socket", f"{socket} on port {model.port}, {enabled}"))
        lines.append(("Memory", format_size(model.memory)))
        lines.append(("Took", _took(situation.took)))
    if situation.problem:
        lines.append(("Problem", situation.problem))
    if situation.held:
        lines.append(("Held", f"until: spark-model warm {situation.name}"))
    lines.append(("Failed start", situation.failed))
    if situation.state:
        lines += _running(situation, situation.state)
    else:
        lines.append(("State", "not running"))
    if situation.lease:
        lines.append(("Lease", _lease(situation.lease)))
    body = "\n".join(f"{label:>12}: {value}" for label, value in lines if value)
    return f"{situation.name}\n{body}"


def _took(footprint: Footprint | None) -> str:
    if footprint is None:
        return ""
    size = f"{footprint.took / (1 << 30):.1f} GiB at most, while it loaded"
    return f"{size} ({footprint.sentence})" if footprint.sentence else size


def _running(situation: Situation, state: State) -> list[tuple[str, str]]:
    lines = [
        ("Phase", str(state.phase)),
        ("Since", f"{tables.span(situation.elapsed)} ago"),
        ("Waiting for", state.waiting_for),
        ("Because", state.stopped_by),
        ("In flight", str(state.in_flight)),
        ("Activation", state.activation or ""),
    ]
    if state.progress is not None:
        lines.append(("Progress", f"{state.progress:.0%}"))
    if state.eta is not None:
        lines.append(("Ready in", f"about {tables.span(state.eta)}"))
    if state.position is not None:
        behind = f", behind {', '.join(state.ahead)}" if state.ahead else ""
        lines.append(("Position", f"{state.position}{behind}"))
    return lines


def _lease(lease: dict[str, object]) -> str:
    memory, state = lease.get("memory"), lease.get("state")
    size = format_size(memory) if isinstance(memory, int) else "unknown size"
    return f"{size}, {state}" if state else size

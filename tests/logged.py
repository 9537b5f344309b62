"""The facts that runners and activators of a test logged, checked like a node's (invariants.py)."""

from __future__ import annotations

from pathlib import Path

from invariants import EXITED, Checker, Event

from spark_activator.facts import Fact, parse


def violations(root: Path) -> list[str]:
    """Return what the logs of the runners below *root* say that must not be."""
    events = [event for file in sorted(root.glob("runner-*.log")) for event in _read(file)]
    assert events, "nothing was logged"
    return Checker().take_in(sorted(events, key=lambda event: event.at))


def _read(file: Path) -> list[Event]:
    model, events, last = file.stem.removeprefix("runner-"), [], 0.0
    for line in file.read_text(errors="replace").splitlines():
        found = parse(line)
        if found is not None:
            if found.what == EXITED:
                # When it was told to die; it may have said something after that.
                found = Fact(EXITED, found.values, max(found.at, last))
            last = found.at
            events.append(Event(last, "runner", model, 0, found))
    return events

"""What is known of the models that may run, read from files: looking never wakes one."""

from __future__ import annotations

import contextlib
import difflib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spark_activator.catalog import frozen
from spark_activator.catalog.model import Model
from spark_activator.cli import files
from spark_activator.cli.units import Units
from spark_activator.errors import FileProblems, Problem, UserError
from spark_activator.layout import Layout
from spark_activator.runner import breaker, breaker_file, footprint, history
from spark_activator.runner.footprint import Footprint
from spark_activator.state import State


class UnknownModel(UserError):
    """There is no frozen model of that name, or no more: it may go while others are read."""


class Retired(UserError):
    """The catalog had a model of that name once: why no more, and in the hint what to use."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One model at one moment.

    Attributes:
        model: As `apply` last froze it; None where that file is broken.
        problem: What is wrong with that file, empty where nothing is.
        listening: Whether its socket listens.
        enabled: Whether it does so after the next boot.
        state: What its runner says; None where there is none.
        lease: What its lease says of itself; None where it holds none.
        elapsed: Seconds since it got where it is.
        held: Whether it was stopped until somebody warms it.
        failed: The last start that failed since one worked, in words; empty without one.
        took: The most memory that its last starts took; None where none is recorded.
    """

    name: str
    model: Model | None
    problem: str
    listening: bool
    enabled: bool
    state: State | None
    lease: dict[str, Any] | None
    elapsed: float
    held: bool = False
    failed: str = ""
    took: Footprint | None = None

    @property
    def sentence(self) -> str:
        """Where it is, in words."""
        if self.problem:
            return f"broken: {self.problem.splitlines()[0]}"
        if self.state is not None:
            return self.state.sentence()
        if self.held:
            return "held"
        if self.listening:
            return "listening"
        return "enabled, not listening" if self.enabled else "not enabled"

    def as_json(self) -> dict[str, Any]:
        """What a program gets; `state` is null where no runner is there."""
        model = self.model
        return {
            "name": self.name,
            "port": model.port if model else None,
            "engine": str(model.engine) if model else None,
            "memory": model.memory if model else None,
            "took": {"memory": self.took.took, "verdict": self.took.verdict} if self.took else None,
            "summary": model.summary if model else None,
            "problem": self.problem or None,
            "enabled": self.enabled,
            "listening": self.listening,
            "state": asdict(self.state) | {"elapsed": self.elapsed} if self.state else None,
            "lease": self.lease,
            "held": self.held,
            "failed": self.failed or None,
        }


def names(layout: Layout) -> list[str]:
    """Name every model that was frozen."""
    directory = layout.frozen("x").parent
    try:
        return sorted(path.stem for path in directory.iterdir() if _is_frozen(path.name))
    except FileNotFoundError:
        return []


def require(layout: Layout, name: str) -> None:
    """Insist that *name* is a model that was frozen.

    Raises:
        UserError: It is none; the nearest names are in the hint.
        Retired: It was a model of the catalog once.
    """
    known = names(layout)
    if name in known:
        return
    refuse_retired(layout, name)
    raise unknown(name, known)


def unknown(name: str, known: Sequence[str]) -> UserError:
    """Say that no model has the *name*, and which of those *known* may be meant."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see: spark-model list"
    return UserError(f"unknown model '{name}'", hint=hint)


def refuse_retired(layout: Layout, name: str) -> None:
    """Say what became of *name*, where it was a model of the catalog once.

    Raises:
        Retired: It was.
    """
    # It reads YAML: whoever names a model that is there does not wait for that.
    from spark_activator.catalog.load import load_retired

    why = load_retired(layout)[0].get(name)
    if why is not None:
        hint = f"use '{why.instead}'" if why.instead else None
        raise Retired(f"model '{name}' is no more: {why.reason}", hint=hint)


def load(layout: Layout, name: str) -> Model:
    """Read the frozen model *name*.

    Raises:
        FileProblems: It is broken.
        UnknownModel: There is none.
    """
    file = layout.frozen(name)
    try:
        text = files.read_ours(file)
    except PermissionError:
        raise
    except OSError as error:
        raise FileProblems([Problem(str(file), "", f"cannot be read: {error.strerror}")]) from error
    if text is None:
        raise UnknownModel(f"unknown model '{name}'", hint="see: spark-model list")
    return frozen.load(text, file=str(file))


def look_at_all(layout: Layout, units: Units) -> list[Situation]:
    """Look at every model that was frozen."""
    found = []
    for name in names(layout):
        with contextlib.suppress(UnknownModel):  # taken away since it was named
            found.append(look(layout, units, name))
    return found


def look(layout: Layout, units: Units, name: str) -> Situation:
    """Look at *name*.

    Raises:
        UnknownModel: There is none.
    """
    model, problem = None, ""
    try:
        model = load(layout, name)
    except FileProblems as error:
        problem = error.message
    state = read_state(layout, name)
    # The stamps of runners are of this clock: it goes on while the machine sleeps.
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return Situation(
        name=name,
        model=model,
        problem=problem,
        listening=(layout.markers / name).exists(),
        enabled=units.enabled(name),
        state=state,
        lease=_read_object(layout, name) if state else None,
        elapsed=max(0.0, now - state.since) if state else 0.0,
        held=breaker_file.is_held(layout, name),
        failed=_last_failure(layout, name),
        took=_footprint(layout, model) if model else None,
    )


def read_state(layout: Layout, name: str) -> State | None:
    """Read what the runner of *name* says; None where there is none, or nothing readable."""
    text = files.read_ours(layout.state_file(name))
    try:
        return State.from_json(text) if text is not None else None
    except ValueError:
        return None


def _last_failure(layout: Layout, name: str) -> str:
    text = files.read_ours(layout.breaker(name))
    try:
        record = breaker.from_json(text) if text is not None else breaker.Record()
    except ValueError:
        return "not known, the record is broken"
    if record.empty:
        return ""
    last = record.failures[-1]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(last.time))
    return f"{when}, {last.code}: {last.message}"


def _footprint(layout: Layout, model: Model) -> Footprint | None:
    entries = history.read_last(layout.history(model.name))
    return footprint.learned(entries, frozen.config_hash(model), model.memory)


def _read_object(layout: Layout, name: str) -> dict[str, Any] | None:
    text = files.read_ours(layout.gpu / f"lease-{name}.json")
    try:
        body = json.loads(text) if text else None
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _is_frozen(file: str) -> bool:
    return file.endswith(".json") and not file.startswith(".")

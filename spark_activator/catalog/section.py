"""Taking a mapping apart key by key: every key is known, every problem is kept.

A `Setting` is the one record of a key: the parser reads by it, the JSON schema is
generated from it.  Defaults are not here: they are those of the dataclass that a
`Table` builds.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from spark_activator.errors import Problem


class Invalid:
    """What a kind returns for a value whose problem it has reported."""


INVALID: Final = Invalid()


@dataclass(slots=True)
class Report:
    """Collects what is wrong in one file."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, key: str, message: str) -> Invalid:
        """Keep one problem; returns `INVALID`, so that a kind can end with it."""
        self.problems.append(Problem(self.file, key, message))
        return INVALID


class Kind(Protocol):
    """What a value may be: reads one, and describes itself as JSON schema."""

    def read(self, value: object, key: str, report: Report) -> object:
        """Convert *value*, or report why not and return `INVALID`."""

    def schema(self) -> dict[str, Any]:
        """Describe the values that `read` accepts."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a file.

    Attributes:
        kind: What its value may be.
        help: One line for editors, from the schema.
        required: Whether the file must have it.
        field: Its name in the dataclass, where that differs.
    """

    kind: Kind
    help: str
    required: bool = False
    field: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with known keys, built into *build* (a dataclass, or `dict`)."""

    settings: Mapping[str, Setting]
    build: Callable[..., Any] = dict

    def read(self, value: object, key: str, report: Report) -> object:
        """Read every key; a null is as good as a key that is not there."""
        if not isinstance(value, dict):
            return report.add(key, f"expected keys {', '.join(self.settings)}, got {quote(value)}")
        values = {}
        for name, item in value.items():
            path = f"{key}.{name}" if key else name
            setting = self.settings.get(name)
            if setting is None:
                report.add(path, f"unknown key{_near(name, self.settings)}")
            elif item is not None:
                values[setting.field or name] = setting.kind.read(item, path, report)
        for name, setting in self.settings.items():
            if setting.required and value.get(name) is None:
                report.add(f"{key}.{name}" if key else name, "required, but not there")
        if any(item is INVALID for item in values.values()):
            return INVALID
        missing = (s for n, s in self.settings.items() if s.required and value.get(n) is None)
        return INVALID if any(missing) else self.build(**values)

    def schema(self) -> dict[str, Any]:
        """Describe it; what is required is said by whoever includes it."""
        properties = {}
        for name, setting in self.settings.items():
            kind = setting.kind.schema()
            shape = kind if setting.required else nullable(kind)
            properties[name] = {"description": setting.help, **shape}
        return {"type": "object", "additionalProperties": False, "properties": properties}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a value that may also be null, which means: as if it were not there."""
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def quote(value: object) -> str:
    """Show *value* in a message, short, and as the file writes it."""
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _near(name: str, known: Mapping[str, Setting]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean '{near[0]}'?" if near else f", expected one of {', '.join(known)}"

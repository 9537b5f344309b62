"""The kinds of values: text, numbers, choices, lists and mappings.

Patterns are written in what Python and JSON schema's ECMA dialect share, and are
searched by both in the same way, so that editor and parser agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spark_activator.catalog.model import Status, StatusKind
from spark_activator.catalog.quantities import DURATION, SIZE, parse_duration, parse_size
from spark_activator.catalog.section import INVALID, Kind, Report, nullable, quote

# No command line, path or sentence of a model file is longer; it bounds what a
# message and a unit can be made to carry.
LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Text:
    """A string of one pattern, converted by *convert*, which must take all that match."""

    expect: str
    pattern: str = ""
    longest: int = LONGEST
    convert: Callable[[str], Any] = str

    def read(self, value: object, key: str, report: Report) -> object:
        """Take a string; numbers and booleans were meant as text more often than not."""
        if not isinstance(value, str):
            scalar = isinstance(value, bool | int | float)
            hint = " (quote it)" if scalar and self.accepts(quote(value)) else ""
            return report.add(key, f"expected {self.expect}, got {quote(value)}{hint}")
        if not self.accepts(value):
            return report.add(key, f"expected {self.expect}, got {quote(value)}")
        return self.convert(value)

    def accepts(self, value: str) -> bool:
        """Whether the string *value* is one."""
        return len(value) <= self.longest and bool(re.search(self.pattern, value))

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        pattern = {"pattern": self.pattern} if self.pattern else {}
        return {"type": "string", "maxLength": self.longest, **pattern}


LINE = Text("one line of text", r"^[^\n\r]+(?!\n)$", 400)
LINK = Text("a link", r"^https://[^\s]+(?!\n)$", 400)


def duration() -> Text:
    """A span of time, in seconds."""
    return Text("a duration such as '20min'", DURATION, 64, parse_duration)


def size() -> Text:
    """An amount of memory, in bytes."""
    return Text("a size such as '24GiB'", SIZE, 64, parse_size)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: type[StrEnum] | tuple[str, ...]

    def read(self, value: object, key: str, report: Report) -> object:
        """Take one of the words."""
        words = [str(word) for word in self.words]
        if not isinstance(value, str) or value not in words:
            return report.add(key, f"expected one of {', '.join(words)}, got {quote(value)}")
        return value if isinstance(self.words, tuple) else self.words(value)

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        return {"enum": [str(word) for word in self.words]}


@dataclass(frozen=True, slots=True)
class Switch:
    """True or false."""

    def read(self, value: object, key: str, report: Report) -> object:
        """Take a boolean only: 'yes' and 1 are none."""
        if not isinstance(value, bool):
            return report.add(key, f"expected true or false, got {quote(value)}")
        return value

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of a range."""

    low: int
    high: int
    what: str = "a whole number"

    def read(self, value: object, key: str, report: Report) -> object:
        """Take an integer, also one that is written 8.0, as JSON schema does."""
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if type(number) is not int or not self.low <= number <= self.high:
            expect = f"{self.what} from {self.low} to {self.high}"
            return report.add(key, f"expected {expect}, got {quote(value)}")
        return number

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Positive:
    """A number above zero, whole or not."""

    what: str

    def read(self, value: object, key: str, report: Report) -> object:
        """Take a number that is finite."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
            return report.add(key, f"expected {self.what} above zero, got {quote(value)}")
        return float(value)

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        return {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e12}


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever JSON can say: it is handed on to an engine that knows better."""

    def read(self, value: object, key: str, report: Report) -> object:
        """Take it as it is."""
        return value

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        return {}


@dataclass(frozen=True, slots=True)
class ListOf:
    """At most *most* items of one kind, none of them twice."""

    item: Kind
    most: int = 64

    def read(self, value: object, key: str, report: Report) -> object:
        """Read every item; returns a tuple."""
        if not isinstance(value, list):
            return report.add(key, f"expected a list, got {quote(value)}")
        if len(value) > self.most:
            return report.add(key, f"expected at most {self.most} items, got {len(value)}")
        items = [self.item.read(item, f"{key}[{n}]", report) for n, item in enumerate(value)]
        if any(item is INVALID for item in items):
            return INVALID
        twice = next((item for n, item in enumerate(items) if item in items[:n]), None)
        return report.add(key, f"{quote(twice)} is there twice") if twice else tuple(items)

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        return {
            "type": "array",
            "items": self.item.schema(),
            "maxItems": self.most,
            "uniqueItems": True,
        }


@dataclass(frozen=True, slots=True)
class MapOf:
    """At most *most* keys of one kind of text, each with a value of one kind."""

    keys: Text
    item: Kind
    most: int = 64

    def read(self, value: object, key: str, report: Report) -> object:
        """Read every pair; null is as good as no key."""
        if not isinstance(value, dict):
            return report.add(key, f"expected a mapping, got {quote(value)}")
        if len(value) > self.most:
            return report.add(key, f"expected at most {self.most} keys, got {len(value)}")
        pairs = {}
        for name, item in value.items():
            known = self.keys.read(name, f"{key}.{name}", report)
            if known is not INVALID and item is not None:
                pairs[known] = self.item.read(item, f"{key}.{name}", report)
        return INVALID if any(item is INVALID for item in pairs.values()) else pairs

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        item = self.item.schema()
        return {
            "type": "object",
            "propertyNames": {k: v for k, v in self.keys.schema().items() if k != "type"},
            "additionalProperties": nullable(item) if item else True,
            "maxProperties": self.most,
        }


class StatusShape:
    """`experimental`, or one of the three words with its text: `{disabled: why}`."""

    def read(self, value: object, key: str, report: Report) -> object:
        """Only what needs no explanation goes without one."""
        if value == StatusKind.EXPERIMENTAL:
            return Status()
        if isinstance(value, str) and value in list(StatusKind):
            return report.add(key, f"expected '{{{value}: how or why}}', got {quote(value)}")
        if (
            not isinstance(value, dict)
            or len(value) != 1
            or next(iter(value)) not in list(StatusKind)
        ):
            expect = "'experimental', '{validated: when and how}' or '{disabled: why}'"
            return report.add(key, f"expected {expect}, got {quote(value)}")
        [(kind, text)] = value.items()
        reason = LINE.read(text, f"{key}.{kind}", report)
        return Status(StatusKind(kind), reason) if isinstance(reason, str) else INVALID

    def schema(self) -> dict[str, object]:
        """Describe it."""
        mapping = {
            "type": "object",
            "propertyNames": {"enum": [str(kind) for kind in StatusKind]},
            "additionalProperties": LINE.schema(),
            "minProperties": 1,
            "maxProperties": 1,
        }
        return {"anyOf": [{"const": "experimental"}, mapping]}

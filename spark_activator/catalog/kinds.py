"""The kinds of values: text, numbers, choices, lists, mappings and command lines.

Patterns are written in what Python and JSON schema's ECMA dialect share, and are
searched by both in the same way, so that editor and parser agree.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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


# A block is balanced when quotes are closed and its last backslash has something
# to escape: exactly then a shell's rules can split it.
_BALANCED = r"""^(?:[^'"\\]|\\[\s\S]|'[^']*'|"(?:[^"\\]|\\[\s\S])*")*(?!\n)$"""
# A shell would take it as a comment, the engine as an argument.
_COMMENT = r"(?:^|\s)#"
# `- --max-num-seqs 8` in a list is one argument with a blank in it.
_TWO_WORDS = r"^--?[A-Za-z][A-Za-z0-9._-]*[ \t]"
# A backslash at the end of a line goes on with the next one, also when blanks
# follow it, which a pasted block often has; other escapes are left to shlex.
_CONTINUED = re.compile(r"\\(?:([ \t]*\n)|[\s\S])")


@dataclass(frozen=True, slots=True)
class Words:
    """A command line: a pasted block that is split as a shell would, or a list."""

    least: int = 0

    def read(self, value: object, key: str, report: Report) -> object:
        """Split a block, or check every item of a list; returns a tuple."""
        if isinstance(value, str):
            return self._split(value, key, report)
        if not isinstance(value, list):
            return report.add(key, f"expected a block of words or a list, got {quote(value)}")
        words = [self._word(word, f"{key}[{n}]", report) for n, word in enumerate(value)]
        if len(words) < self.least:
            return report.add(key, f"expected at least {self.least} word, got none")
        return INVALID if any(word is INVALID for word in words) else tuple(words)

    def _split(self, block: str, key: str, report: Report) -> object:
        if len(block) > LONGEST:
            return report.add(key, f"expected at most {LONGEST} characters, got {len(block)}")
        if not re.search(_BALANCED, block):
            return report.add(key, "expected closed quotes and no backslash at the end")
        if re.search(_COMMENT, block):
            return report.add(key, "expected words, got a comment ('#'): a block has none")
        words = tuple(shlex.split(_CONTINUED.sub(_continue, block)))
        if len(words) < self.least:
            return report.add(key, f"expected at least {self.least} word, got none")
        return words

    def _word(self, word: object, key: str, report: Report) -> object:
        if not isinstance(word, str):
            return report.add(key, f"expected a string, got {quote(word)} (quote it)")
        if len(word) > LONGEST:
            return report.add(key, f"expected at most {LONGEST} characters, got {len(word)}")
        if re.search(_TWO_WORDS, word):
            return report.add(key, f"expected flag and value as two items, got {quote(word)}")
        return word

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        item = {"type": "string", "maxLength": LONGEST, "not": {"pattern": _TWO_WORDS}}
        block: dict[str, Any] = {"type": "string", "maxLength": LONGEST, "pattern": _BALANCED}
        block["not"] = {"pattern": _COMMENT}
        if self.least:
            block["allOf"] = [{"pattern": r"\S"}]
        return {"anyOf": [block, {"type": "array", "items": item, "minItems": self.least}]}


def _continue(escape: re.Match[str]) -> str:
    if escape[1] is None:
        return escape[0]
    return "" if escape[1] == "\n" else " "

"""YAML text → plain values, by the rules of YAML 1.2 and a few of our own.

PyYAML's own loader follows YAML 1.1, where `no` is a boolean, `1:30` is 90 and a
key that is written twice silently wins.  Here only `true` and `false` are
booleans, a key may be written once, and there are no anchors, aliases, tags or
further documents: a file of settings needs none, and without them a file cannot
grow when it is read.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from spark_activator.errors import FileProblems, Problem

# A model file has two or three KiB; 256 KiB is what PyYAML reads in about a second.
MAX_TEXT = 256 * 1024
# Five levels are used (presets: name: extra: key: value); Python's own stack
# ends at about 300 levels of PyYAML.
MAX_DEPTH = 16

_PREFIX = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Composes nodes only; constructing values from them is `_value`."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML's
    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stub
        if getattr(event, "anchor", None) is not None:
            raise _problem(event.start_mark, "anchors and aliases ('&', '*') are not supported")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _problem(event.start_mark, f"expected at most {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_PREFIX + _tag, re.compile(rf"(?:{_pattern})\Z"), _first)


def parse(text: str, file: str) -> dict[str, Any]:
    """Read *text* as one mapping of plain values.

    Raises:
        FileProblems: It is none; the message names the line.
    """
    try:
        if len(text) > MAX_TEXT:
            raise _problem(None, f"expected at most {MAX_TEXT // 1024} KiB")
        node = yaml.compose(text, _Loader)
        if node is None:
            raise _problem(None, "expected settings, the file is empty")
        if not isinstance(node, MappingNode):
            raise _problem(node.start_mark, f"expected 'key: value' lines, got a {_kind(node)}")
        return _mapping(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        what = " ".join(filter(None, (error.context if error.problem is None else error.problem,)))
        raise FileProblems([Problem(file, "", where + _hint(what))]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"line {line}: expected printable characters, got {chr(error.character)!r}"
        raise FileProblems([Problem(file, "", what)]) from None


def _problem(mark: yaml.Mark | None, message: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=mark)


def _hint(what: str) -> str:
    if "'\\t'" in what:
        return f"{what} (indent with spaces, not with tabs)"
    return what


def _kind(node: Node) -> str:
    return "list" if isinstance(node, SequenceNode) else "single value"


def _mapping(node: MappingNode) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _value(key_node)
        if not isinstance(key, str):
            raise _problem(key_node.start_mark, f"expected a string as key, got {key!r} (quote it)")
        if key in values:
            raise _problem(key_node.start_mark, f"the key {key!r} is there twice")
        values[key] = _value(value_node)
    return values


def _value(node: Node) -> object:
    if isinstance(node, MappingNode) and node.tag == _PREFIX + "map":
        return _mapping(node)
    if isinstance(node, SequenceNode) and node.tag == _PREFIX + "seq":
        return [_value(item) for item in node.value]
    if isinstance(node, ScalarNode):
        return _scalar(node)
    raise _problem(node.start_mark, f"tags ('{node.tag}') are not supported")


def _scalar(node: ScalarNode) -> object:
    tag, text = node.tag.removeprefix(_PREFIX), node.value
    if tag == "str":
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise _problem(node.start_mark, "expected text without NUL and lone surrogates")
        return text
    try:
        if tag == "null" and text.lower() in ("", "~", "null"):
            return None
        if tag == "bool":
            return {"true": True, "false": False}[text.lower()]
        if tag == "int":
            return int(text)
        if tag == "float" and math.isfinite(number := float(text)):
            return number
    except (KeyError, ValueError):
        pass  # an explicit tag on something else, or more digits than Python reads
    raise _problem(node.start_mark, f"expected a plain value, got {text[:40]!r} as '{tag[:40]}'")

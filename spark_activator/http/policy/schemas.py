"""Tools and grammars: shapes that engines have broken on, and sizes.

A malformed schema has ended the engine for everybody (CVE-2025-48944,
CVE-2026-105757), and so has the time that an expression took (CVE-2026-55574).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from spark_activator.errors import Refusal
from spark_activator.http.policy.strict import Fields, Source, dumps

# Claude Code with some servers of tools sends 200.
MOST_TOOLS: Final = 512
# OpenAI's limit for all words of a schema is 120,000 characters.
LONGEST_SCHEMA: Final = 128 * 1024
LONGEST_GRAMMAR: Final = 32 * 1024
LONGEST_REGEX: Final = 4096
# A repetition is unrolled: `.{1,1000000}` is eleven characters and a million states.
MOST_REPEATS: Final = 1000
MOST_CHOICES: Final = 1024

# One schema, a list of them, or one for each name.
ONE = (
    "additionalProperties", "contains", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
LIST = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
NAMED = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
# One way only to match what it matches: clients write what it is let loose on.
_REPEATS = re.compile(r"\{([0-9]*)(?:,([0-9]*))?\}")

# Fields that hold a grammar, by the kind of what is in them.
_GUIDED = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_grammar": "grammar",
    "guided_choice": "choice",
    "guided_whitespace_pattern": "whitespace_pattern",
    "structural_tag": "structural_tag",
    "regex": "regex",
    "ebnf": "grammar",
    "json_schema": "json",
}
_STRUCTURED = (
    "json", "regex", "grammar", "choice", "whitespace_pattern", "structural_tag",
)  # fmt: skip
_FORMATS = (("response_format",), ("text", "format"), ("output_config", "format"))
# Most requests have no field with a grammar in it: one look tells.
_WITH_GRAMMARS = frozenset({*_GUIDED, "structured_outputs", *(path[0] for path in _FORMATS)})


def check_tools(fields: Fields) -> None:
    """Check the number of tools, and that each has the shape of one.

    Raises:
        Refusal: Something is not what an engine expects there.
    """
    for key in ("tools", "functions"):
        tools = fields.get(key)
        if tools is None:
            continue
        if not isinstance(tools, list):
            _refuse(key, "expected a list")
        if len(tools) > MOST_TOOLS:
            _refuse(key, f"at most {MOST_TOOLS} are served, and there are {len(tools)}")
        for n, tool in enumerate(tools):
            _check_tool(tool, f"{key}[{n}]")


def check_grammars(fields: Fields, source: Source) -> None:
    """Check the size of everything that the engine makes a grammar of.

    Raises:
        Refusal: It is larger than what is served.
    """
    if _WITH_GRAMMARS.isdisjoint(fields):
        return
    for key, kind in _GUIDED.items():
        _check_grammar(fields.get(key), kind, key)
    structured = fields.get("structured_outputs")
    if isinstance(structured, dict):
        for kind in _STRUCTURED:
            _check_grammar(structured.get(kind), kind, f"structured_outputs.{kind}")
    for path in _FORMATS:
        value: Any = fields
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):
            _check_format(value, ".".join(path), source)


def _check_tool(tool: object, path: str) -> None:
    if not isinstance(tool, dict):
        _refuse(path, "expected an object")
    function = tool.get("function", tool)
    if not isinstance(function, dict):
        _refuse(f"{path}.function", "expected an object")
    if not isinstance(tool.get("type", ""), str | None):
        _refuse(f"{path}.type", "expected text")
    if not isinstance(function.get("name", ""), str):
        _refuse(f"{path}.name", "expected text")
    for key in ("parameters", "input_schema"):
        if function.get(key) is not None:
            _check_schema(function[key], f"{path}.{key}")


def _check_schema(schema: object, path: str) -> None:
    """Check what engines and grammar compilers rely on; the rest of a schema is open."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        _refuse(path, "expected a JSON schema")
    kind = schema.get("type", "object")
    words = kind if isinstance(kind, list) else [kind]
    if not all(isinstance(word, str) for word in words):
        _refuse(f"{path}.type", "expected the name of a type, or a list of them")
    if "pattern" in schema:
        _check_regex(schema["pattern"], f"{path}.pattern")
    for key, value in schema.items():
        for below, name in _schemas_in(key, value, path):
            _check_schema(below, name)


def _schemas_in(key: str, value: object, path: str) -> Iterable[tuple[object, str]]:
    """Find the schemas in one keyword of a schema; what `enum` or `default` have is data."""
    path = f"{path}.{key}"
    if key in NAMED and value is not None:
        if not isinstance(value, dict):
            _refuse(path, "expected an object")
        return [(item, f"{path}.{name[:64]}") for name, item in value.items()]
    if key in LIST and isinstance(value, list):
        return [(item, f"{path}[{n}]") for n, item in enumerate(value)]
    return [(value, path)] if key in ONE else ()


def _check_format(value: dict[str, Any], path: str, source: Source) -> None:
    top = path.partition(".")[0]
    if len(source.written(top, source.fields.get(top))) > LONGEST_SCHEMA:
        _refuse(path, f"a schema has at most {LONGEST_SCHEMA} characters")
    schema = value.get("json_schema", value)
    schema = schema.get("schema") if isinstance(schema, dict) else None
    if isinstance(schema, dict):
        _check_schema(schema, f"{path}.schema")
    for kind in ("regex", "grammar"):
        _check_grammar(value.get(kind), kind, f"{path}.{kind}")


def _check_grammar(value: object, kind: str, path: str) -> None:
    if value is None:
        return
    if kind in ("regex", "whitespace_pattern"):
        _check_regex(value, path)
    elif kind == "choice":
        if isinstance(value, list) and len(value) > MOST_CHOICES:
            _refuse(path, f"at most {MOST_CHOICES} are served")
    else:
        text = value if isinstance(value, str) else dumps(value)
        longest = LONGEST_GRAMMAR if kind == "grammar" else LONGEST_SCHEMA
        if len(text) > longest:
            _refuse(path, f"at most {longest} characters are served")
        if kind == "json" and isinstance(value, dict):
            _check_schema(value, path)


def _check_regex(value: object, path: str) -> None:
    if not isinstance(value, str):
        _refuse(path, "expected a regular expression")
    if len(value) > LONGEST_REGEX:
        _refuse(path, f"a regular expression has at most {LONGEST_REGEX} characters")
    for low, high in _REPEATS.findall(value):
        if any(len(bound) > 4 or int(bound or 0) > MOST_REPEATS for bound in (low, high)):
            _refuse(path, f"nothing is repeated more than {MOST_REPEATS} times")


def _refuse(path: str, what: str) -> NoReturn:
    raise Refusal("unsupported_field", f"{path}: {what}")

"""How the lines of `protocol` are written and read: what is not in the protocol is an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from spark_activator.protocol import (
    FROM_ACTIVATOR,
    FROM_RUNNER,
    LARGEST_COUNT,
    MAX_LINE,
    OLDEST_PROTOCOL,
    USAGE_KEYS,
    Answer,
    Control,
    FromActivator,
    FromRunner,
    Hello,
    Line,
    ProtocolError,
    Usage,
)

_T = TypeVar("_T")

# What the JSON value of each annotated field may be.  Booleans are integers in
# Python, so a field that is no `bool` must not take one.
_SHAPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float | None": (float, int, type(None)),
    "str": (str,),
    "str | None": (str, type(None)),
    "bool": (bool,),
    "tuple[str, ...]": (list,),
    "Usage | None": (dict, type(None)),
}


def encode(line: Line) -> bytes:
    """Write *line* as one line of JSON."""
    body: dict[str, Any] = asdict(line)
    if not isinstance(line, Hello):
        body = {"type": line.type, **body}
    if body.get("usage", ...) is None:
        del body["usage"]  # most lines have none
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def decode_hello(line: bytes) -> Hello:
    """Read the first line of a connection.

    Raises:
        ProtocolError: It is none, or of a version that we do not speak.
    """
    body = _object(line)
    role, version = body.get("role"), body.get("protocol")
    if role not in ("demand", "control"):
        raise ProtocolError(f"expected role 'demand' or 'control', got {role!r}")
    if type(version) is not int or version < OLDEST_PROTOCOL:
        raise ProtocolError(f"expected protocol {OLDEST_PROTOCOL} or newer, got {version!r}")
    return Hello(role=role, protocol=version)


def decode_from_runner(line: bytes) -> FromRunner:
    """Read what a runner said on a demand connection.

    Raises:
        ProtocolError: The line is not in the protocol.
    """
    return decode(line, FROM_RUNNER)


def decode_from_activator(line: bytes) -> FromActivator:
    """Read what an activator said after its hello.

    Raises:
        ProtocolError: The line is not in the protocol.
    """
    return decode(line, FROM_ACTIVATOR)


def decode_control(line: bytes) -> Control:
    """Read what the command line asks for.

    Raises:
        ProtocolError: The line is not in the protocol.
    """
    control = decode(line, {Control.type: Control})
    if control.command not in ("warm", "stop", "hold", "reset"):
        raise ProtocolError(f"unknown control command {control.command!r}")
    return control


def decode_answer(line: bytes) -> Answer:
    """Read the answer to a `Control`.

    Raises:
        ProtocolError: The line is not in the protocol.
    """
    return decode(line, {Answer.type: Answer})


def decode(line: bytes, kinds: Mapping[str, type[_T]]) -> _T:
    """Read a line that is one of *kinds*, by its `type`.

    Raises:
        ProtocolError: It is none of them, or has a wrong value.
    """
    body = _object(line)
    name = body.get("type")
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"expected one of {', '.join(kinds)}, got {name!r}")
    values = {
        field.name: _value(body[field.name], str(field.type), f"{name}: {field.name}")
        for field in fields(kind)  # type: ignore[arg-type]  # every kind is a dataclass
        if field.name in body
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise ProtocolError(f"{name}: a key is missing in {line[:80]!r}") from error


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise ProtocolError(f"expected a line of at most {MAX_LINE} bytes, got {len(line)}")
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"expected a JSON object, got {line[:80]!r}") from error
    if not isinstance(body, dict):
        raise ProtocolError(f"expected a JSON object, got {line[:80]!r}")
    return body


def _value(value: object, annotation: str, where: str) -> object:
    shape = _SHAPES.get(annotation, (str,))
    wrong = not isinstance(value, shape) or (isinstance(value, bool) and bool not in shape)
    if isinstance(value, list):
        wrong = wrong or not all(isinstance(item, str) for item in value)
    # NaN is no JSON, but Python reads it; it compares with nothing.
    if wrong or value != value:
        raise ProtocolError(f"{where}: expected {annotation}, got {value!r}")
    if isinstance(value, list):
        return tuple(value)
    return _usage(value) if isinstance(value, dict) else value


def _usage(body: dict[str, Any]) -> Usage:
    for name, counts in body.items():
        if (
            len(body) > USAGE_KEYS
            or len(name) > 64  # http.keys.NAME
            or not isinstance(counts, list)
            or len(counts) != 3
            or not all(type(count) is int and 0 <= count <= LARGEST_COUNT for count in counts)
        ):
            raise ProtocolError(f"busy: usage: expected three counts a key, got {counts!r:.80}")
    return {name: (requests, sent, got) for name, (requests, sent, got) in body.items()}

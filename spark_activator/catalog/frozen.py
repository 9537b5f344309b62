"""The frozen form: what `apply` writes, and what activator and runner read.

JSON with sorted keys, so that a change of a model is a change of few lines.  A
key that is not there takes its default: a newer version reads what an older one
froze.  This is on the activator's hot path: json and the dataclasses, no more.
"""

from __future__ import annotations

import json
import types
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from typing import Any, TypeVar

from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Model
from spark_activator.errors import FileProblems, Problem

_T = TypeVar("_T")


# What people are told of a model changes nothing of what runs.
_DESCRIBES = frozenset({"summary", "status", "client", "sizing", "measured", "issues"})


def dump(model: Model) -> str:
    """Write *model*, every default spelled out."""
    return _text(model)


def load(text: str, *, file: str = "frozen model") -> Model:
    """Read what `dump` wrote; *file* is its name in messages.

    Raises:
        FileProblems: It is broken, or of another version.
    """
    return _load(text, Model, file)


def dump_host(host: HostSettings) -> str:
    """Write *host*, every default spelled out."""
    return _text(host)


def load_host(text: str, *, file: str = "frozen host settings") -> HostSettings:
    """Read what `dump_host` wrote; *file* is its name in messages.

    Raises:
        FileProblems: It is broken, or of another version.
    """
    return _load(text, HostSettings, file)


def config_hash(model: Model) -> str:
    """Name the configuration that a container runs with: 16 hex digits.

    Defaults do not count, so that a version with a new key still adopts what an
    older one started.
    """
    import hashlib  # only the runner asks, and OpenSSL takes a while to load

    body = _plain(model, defaults=False)
    assert isinstance(body, dict)
    runs = {key: value for key, value in body.items() if key not in _DESCRIBES}
    text = json.dumps(runs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(value: object) -> str:
    return json.dumps(_plain(value, defaults=True), indent=2, sort_keys=True) + "\n"


def _plain(value: object, *, defaults: bool) -> object:
    if is_dataclass(value):
        return {
            field.name: _plain(item, defaults=defaults)
            for field in fields(value)
            if (item := getattr(value, field.name)) != _default(field) or defaults
        }
    if isinstance(value, dict):
        return {key: _plain(item, defaults=defaults) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item, defaults=defaults) for item in value]
    if isinstance(value, float) and value.is_integer():
        # 90 and 90.0 are the same deadline, so they are the same text and hash.
        return int(value)
    return str(value) if isinstance(value, StrEnum) else value


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


class _WrongError(ValueError):
    """A value that is not what its key wants: the key's path, and what was expected."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _load(text: str, kind: type[_T], file: str) -> _T:
    try:
        value = _read(json.loads(text), kind, "")
    except _WrongError as error:
        raise FileProblems([Problem(file, error.key, str(error))]) from None
    except (ValueError, RecursionError) as error:
        raise FileProblems([Problem(file, "", f"expected JSON: {error}")]) from None
    assert isinstance(value, kind)
    return value


def _read(value: object, kind: object, key: str) -> object:
    """Read *value* as the annotation *kind* says, by exact types: a boolean is no number."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(value, inner[0], key)
    if origin is tuple:
        items = enumerate(_typed(value, list, key))
        return tuple(_read(item, inner[0], f"{key}[{n}]") for n, item in items)
    if origin is dict:
        pairs = _typed(value, dict, key).items()
        return {name: _read(item, inner[1], f"{key}.{name}") for name, item in pairs}
    if kind is Any or not isinstance(kind, type):
        return value
    if is_dataclass(kind):
        return _record(value, kind, key)
    if issubclass(kind, StrEnum):
        words = [str(word) for word in kind]
        if value not in words:
            raise _WrongError(key, f"expected one of {', '.join(words)}, got {value!r}")
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    return _typed(value, kind, key)


def _record(value: object, kind: type, key: str) -> object:
    body = _typed(value, dict, key)
    hints = typing.get_type_hints(kind)
    path = f"{key}." if key else ""
    for name in body:
        if name not in hints:
            raise _WrongError(path + name, "unknown key, of a newer version perhaps")
    values = {name: _read(item, hints[name], path + name) for name, item in body.items()}
    for field in fields(kind):
        if field.name not in values and _default(field) is MISSING:
            raise _WrongError(path + field.name, "required, but not there")
    return kind(**values)


def _typed(value: object, kind: type[_T], key: str) -> _T:
    if type(value) is not kind:
        raise _WrongError(key, f"expected {kind.__name__}, got {type(value).__name__}")
    return value

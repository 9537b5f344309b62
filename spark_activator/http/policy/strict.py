"""Strict JSON: read what has one meaning for every parser, write what was changed.

A request that is forwarded with a change has to keep all that nobody changed:
fields that we do not know, integers of any size, 0.10 and 1e5 as they were
spelt, the order of keys.  So a body is cut into its top-level fields, each with
its own text.  A field that is still the same value is written as the client
wrote it; others are written anew, with the text of each of their floats.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn

from spark_activator.errors import Refusal

# Python's own limit, since reading a number takes the square of its length.
MOST_DIGITS: Final = 4300
# Engines recurse: a schema of a tool has some 10 levels, vLLM's own limit is 64.
MOST_LEVELS: Final = 128
# Each value takes up to 150 bytes here and more in the engine, however short its
# text.  A prompt of a million token ids fits, as do some 10 MB of text or code.
MOST_VALUES: Final = 1 << 20

Fields = Mapping[str, Any]

_SPACE = re.compile(r"[ \t\n\r]*")
# The beginning of an object, with its end where it is empty; what is behind a key; what
# is behind a value, where more follows a comma only.
_OPENING = re.compile(r"[ \t\n\r]*\{[ \t\n\r]*(\})?")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*(?:(,)[ \t\n\r]*|\})")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_NOT_UTF8 = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class Float(float):
    """A number with a fraction or an exponent, and how it was spelt."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Float:
        """Read *text*, which is a number by JSON's grammar."""
        if len(text) > MOST_DIGITS:
            _refuse(f"a number has more than {MOST_DIGITS} digits")
        number = super().__new__(cls, text)
        if math.isinf(number):
            _refuse("a number is larger than any that an engine can hold")
        number.text = text
        return number


class Source:
    """A JSON object as a client sent it; made by `read`.

    Attributes:
        fields: Its values by key, in order.
    """

    __slots__ = ("_spans", "_text", "fields")

    def __init__(
        self, text: str, fields: dict[str, Any], spans: dict[str, tuple[int, int]]
    ) -> None:
        self._text, self.fields, self._spans = text, fields, spans

    def written(self, key: str, value: object) -> str:
        """Write the value of *key*: in the client's words where it is still the same object."""
        if key in self._spans and self.fields[key] is value:
            return self._text[slice(*self._spans[key])]
        return dumps(value)

    def write(self, fields: Fields) -> bytes:
        """Write *fields*, each as `written` does."""
        parts = [
            f"{encode_basestring(key)}: {self.written(key, value)}" for key, value in fields.items()
        ]
        return ("{" + ", ".join(parts) + "}").encode()


def refuse_encoded(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that a head with *fields* announces a body that is not compressed.

    Raises:
        Refusal: It has another content encoding than `identity`.
    """
    for name, value in fields:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            _refuse("the body has a content encoding", "send it as it is, without compression")


def read(body: bytes) -> Source:
    """Read a JSON object that means the same to every parser.

    Raises:
        Refusal: It is none, or not a plain one: see docs/requests.md.
    """
    text = _decode(body)
    if len(body) > MOST_VALUES and _count(body, b",[{") > MOST_VALUES:
        raise Refusal("body_too_large", f"the body has more than {MOST_VALUES} values")
    try:
        source = _scan(text)
    except json.JSONDecodeError as error:
        _refuse(f"{_uncapitalized(error.msg)} at character {error.pos + 1} of {len(text)}")
    except RecursionError:
        _refuse(f"it is nested deeper than {MOST_LEVELS} levels")
    except ValueError:
        _refuse(f"a number has more than {MOST_DIGITS} digits")
    # To look is cheap where there is little text, to go through it where there is much.
    if len(text) > MOST_VALUES or _count(body, b"[{") > MOST_LEVELS:
        _check_levels(source.fields)
    if b"\\ud" in body or b"\\uD" in body:
        _check_surrogates(source.fields)
    return source


def dumps(value: object) -> str:
    """Write a value that was read, or that a model file has."""
    parts: list[str] = []
    _write(value, parts.append)
    return "".join(parts)


def _count(body: bytes, these: bytes) -> int:
    return len(body) - len(body.translate(None, these))


def _decode(body: bytes) -> str:
    for magic, name in _COMPRESSED.items():
        if body.startswith(magic):
            _refuse(f"it is compressed ({name})", "send it as it is")
    for magic, name in _NOT_UTF8.items():
        if body.startswith(magic):
            _refuse(f"it is {name}", "send UTF-8")
    if body.startswith(b"\xef\xbb\xbf"):
        _refuse("it begins with a byte order mark", "send UTF-8 without one")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        _refuse(f"byte {error.start + 1} of {len(body)} is not UTF-8")


def _scan(text: str) -> Source:
    """Read the outermost object key by key, to know which text is whose."""
    fields: dict[str, Any] = {}
    spans: dict[str, tuple[int, int]] = {}
    found = _OPENING.match(text)
    if found is None:
        _refuse_other(text)
    at, more = found.end(), found[1] is None
    while more:
        if not text.startswith('"', at):
            raise json.JSONDecodeError("expecting a key in double quotes", text, at)
        key, at = _DECODER.raw_decode(text, at)
        if key in fields:
            _refuse_twice(key)
        found = _COLON.match(text, at) or _miss("':'", text, at)
        start = found.end()
        fields[key], at = _DECODER.raw_decode(text, start)
        spans[key] = (start, at)
        found = _NEXT.match(text, at) or _miss("',' or '}'", text, at)
        at, more = found.end(), found[1] is not None
    if _skip(text, at) != len(text):
        raise json.JSONDecodeError("more follows the object", text, at)
    return Source(text, fields, spans)


def _refuse_other(text: str) -> NoReturn:
    at = _skip(text, 0)
    if at == len(text):
        _refuse("it is empty", "send an object")
    _DECODER.raw_decode(text, at)  # says what else is wrong with it
    _refuse("it is no object", 'send one, such as {"model": …}')


def _miss(expected: str, text: str, at: int) -> NoReturn:
    raise json.JSONDecodeError(f"expecting {expected}", text, _skip(text, at))


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # the pattern matches nothing, too
    return found.end()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                _refuse_twice(key)
            seen.add(key)
    return result


def _refuse_twice(key: str) -> NoReturn:
    _refuse(f"the key {json.dumps(key[:64])} is there twice in one object")


def _constant(name: str) -> NoReturn:
    _refuse(f"{name} is no JSON", "send null or a number")


def _check_levels(fields: Fields) -> None:
    level: list[Any] = [fields]
    for _ in range(MOST_LEVELS):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    _refuse(f"it is nested deeper than {MOST_LEVELS} levels")


def _check_surrogates(fields: Fields) -> None:
    try:
        dumps(fields).encode()
    except UnicodeEncodeError:
        _refuse("a string has half of a surrogate pair, which is no character")


def _write(value: object, put: Any) -> None:  # noqa: ANN401  # list.append has no better type
    if isinstance(value, str):
        put(encode_basestring(value))
    elif isinstance(value, dict):
        before = "{"
        for key, item in value.items():
            put(f"{before}{encode_basestring(key)}: ")
            _write(item, put)
            before = ", "
        put("}" if value else "{}")
    elif isinstance(value, list | tuple):
        before = "["
        for item in value:
            put(before)
            _write(item, put)
            before = ", "
        put("]" if value else "[]")
    elif type(value) is int:
        put(str(value))  # as `json` does, which makes an encoder for each
    else:
        put(value.text if isinstance(value, Float) else json.dumps(value))


def _uncapitalized(message: str) -> str:
    return message[:1].lower() + message[1:]


def _refuse(what: str, remedy: str = "") -> NoReturn:
    hint = f": {remedy}" if remedy else ""
    raise Refusal("invalid_json", f"the body is not JSON that can be served: {what}{hint}")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Float, parse_constant=_constant)

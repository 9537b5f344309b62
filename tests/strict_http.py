"""A second opinion on what reached the engine: reads one request, and only the plainest.

Shares no code with `spark_activator.http`, and takes less than any server does:
whatever it reads, every server reads alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE = re.compile(rb"(GET|HEAD|POST|DELETE) (/[!\"$-~]*) HTTP/1\.([01])")
FIELD = re.compile(rb"([a-z0-9][a-z0-9-]*): ?([ -~\x80-\xff]*)")
LIMIT = 64 * 1024


class Ambiguous(AssertionError):
    """Two servers might read it differently."""


@dataclass(frozen=True)
class Request:
    """What was meant.

    Attributes:
        rest: What came behind it.
    """

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    rest: bytes


def read(raw: bytes) -> Request | None:
    """Read the request that *raw* begins with; None while it is not complete."""
    head, end, behind = raw.partition(b"\r\n\r\n")
    if not end:
        _check(len(raw) < LIMIT, "no end of the head")
        return None
    first, *lines = head.split(b"\r\n")
    match = LINE.fullmatch(first)
    _check(match is not None, f"request line {first[:100]!r}")
    assert match is not None
    fields = []
    for line in lines:
        field = FIELD.fullmatch(line)
        _check(field is not None, f"field {line[:100]!r}")
        assert field is not None
        fields.append((field[1].decode(), field[2].decode("latin-1")))
    names = [name for name, _ in fields]
    for name in ("host", "content-length", "transfer-encoding", "connection"):
        _check(names.count(name) <= 1, f"{name} twice")
    values = dict(fields)
    _check("host" in values or match[3] == b"0", "no Host")
    _check(values.get("connection") == "close", "the connection is kept")
    _check(not {"content-length", "transfer-encoding"} <= set(names), "two lengths")
    _check(not {"te", "trailer", "upgrade", "expect"} & set(names), "a field of another hop")
    body_and_rest = _body(values, behind)
    if body_and_rest is None:
        return None
    return Request(match[1].decode(), match[2].decode(), tuple(fields), *body_and_rest)


def _body(fields: dict[str, str], behind: bytes) -> tuple[bytes, bytes] | None:
    if "transfer-encoding" in fields:
        _check(fields["transfer-encoding"] == "chunked", "another coding")
        return _chunks(behind)
    length = fields.get("content-length", "0")
    _check(re.fullmatch("0|[1-9][0-9]*", length) is not None, f"length {length!r}")
    size = int(length)
    return (behind[:size], behind[size:]) if len(behind) >= size else None


def _chunks(behind: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        line, end, behind = behind.partition(b"\r\n")
        if not end:
            return None
        _check(re.fullmatch(b"0|[1-9a-f][0-9a-f]*", line) is not None, f"chunk {line[:50]!r}")
        size = int(line, 16)
        if len(behind) < size + 2:
            return None
        _check(behind[size : size + 2] == b"\r\n", "nothing behind a chunk, or a trailer")
        body, behind = body + behind[:size], behind[size + 2 :]
        if not size:
            return body, behind


def _check(plain: bool, otherwise: str) -> None:
    if not plain:
        raise Ambiguous(otherwise)

"""The head of an engine's response: read enough to pass it on, and no more.

The body is not looked at: it ends after its announced length, or where the
engine's connection ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from spark_activator.errors import Refusal
from spark_activator.http.answers import CHANGED, REQUEST_ID

# Engines send some 200 bytes; four times what clients may send us is generous.
MAX_HEAD: Final = 64 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
_CODING = re.compile(rb"transfer-encoding:", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,15}")
# Have no body, whatever their fields say.
_EMPTY = frozenset({204, 304})
# Between the engine and us.  How the body is framed is passed on with the body.
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade"})
_EVENTS = b"text/event-stream"
_OURS = frozenset({REQUEST_ID.lower().encode(), CHANGED.lower().encode()})
# Which pages may read an answer is our business (http/hosts.py): engines say all.
_CORS = b"access-control-"


class ResponseHead:
    """A response's head, complete.

    Attributes:
        status: 100 to 599; below 200 another head follows, but behind 101.
        fields: Lower-case names and values, in order.
        length: Bytes of the body; None when it says itself where it ends.
        chunked: Whether it is in chunks.
        events: Whether it is a stream of events.
    """

    __slots__ = ("_lines", "chunked", "events", "fields", "length", "status")

    def __init__(
        self,
        status: int,
        lines: list[bytes],
        fields: list[tuple[bytes, bytes]],
        length: int | None,
    ) -> None:
        self.status, self._lines, self.fields, self.length = status, lines, fields, length
        # The only coding that an engine may use: we ask for no other.
        self.chunked = length is None and any(name == b"transfer-encoding" for name, _ in fields)
        self.events = any(
            name == b"content-type" and value.lower().startswith(_EVENTS) for name, value in fields
        )

    @property
    def interim(self) -> bool:
        """Whether the real one is still to come."""
        return self.status < 200 and self.status != 101

    def for_downstream(
        self, request_id: str, changed: Sequence[str] = (), *, chunks: bool = True
    ) -> bytes:
        """Write the head that the client gets.

        Args:
            request_id: Ours.
            changed: The policy's rules that changed the request.
            chunks: Whether the body keeps its chunks, where it has some.
        """
        lines = [line for line in self._lines if chunks or not _CODING.match(line)]
        if changed and not self.interim:
            lines.append(f"{CHANGED}: {', '.join(changed)}".encode())
        if self.status == 101:
            [protocol] = [value for name, value in self.fields if name == b"upgrade"]
            lines += [f"{REQUEST_ID}: {request_id}".encode(), b"Connection: Upgrade"]
            lines.append(b"Upgrade: " + protocol)
        elif not self.interim:
            lines += [f"{REQUEST_ID}: {request_id}".encode(), b"Connection: close"]
        return b"\r\n".join([*lines, b"", b""])


def find_end(received: bytes | bytearray) -> int | None:
    """Return how many bytes of *received* are the head, or None while more must come.

    Raises:
        Refusal: It is larger than any head of an engine.
    """
    end = received.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end < 0 and len(received) >= MAX_HEAD:
        raise _bad(f"a response head of more than {MAX_HEAD} bytes")
    return end + 4 if end >= 0 else None


def parse(raw: bytes, *, upgrade: bool = False) -> ResponseHead:
    """Read a complete head, its empty line included.

    Args:
        raw: The head.
        upgrade: Whether the engine was asked to speak something else, and may agree.

    Raises:
        Refusal: It is not HTTP/1.x, could be read in two ways, or the engine
            wants to speak something else.
    """
    status_line, *lines = raw[:-4].split(b"\r\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise _bad("no status line of HTTP/1.x")
    status = int(match[1])
    if status == 101 and not upgrade:
        # We asked for no upgrade, and could not check what would follow.
        raise _bad("101, an upgrade that nobody asked for")
    kept = [status_line]
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _bad("a line in its response head that is no 'name: value'")
        name = field[1].lower()
        fields.append((name, field[2].strip(b" \t")))
        if name not in _HOP_BY_HOP and name not in _OURS and not name.startswith(_CORS):
            kept.append(line)
    return ResponseHead(status, kept, fields, _length(status, fields))


def _length(status: int, fields: list[tuple[bytes, bytes]]) -> int | None:
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if status == 101 and (lengths or codings):
        raise _bad("101 with a body")
    return 0 if status in _EMPTY else _body_length(lengths, codings)


def _body_length(lengths: list[bytes], codings: list[bytes]) -> int | None:
    # A client may read another one of two than we do.
    if lengths and codings:
        raise _bad("both Content-Length and Transfer-Encoding")
    if not lengths:
        return None
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise _bad("a Content-Length that is not one number")
    return int(lengths[0])


def _bad(what: str) -> Refusal:
    return Refusal("bad_gateway", f"the engine sent {what}")

"""The head of a request: what it is, or why it is refused.

Whatever two parsers could read differently is refused here, so that nothing
behind us has to agree with us: a request that passes means the same to nginx,
to us and to the engine.  What goes on to the engine is written anew from what
was understood, never copied.

Strict where RFC 9112 lets a server be lenient: only CRLF ends a line, no line
is folded, one `Host`, one way to say how long the body is.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from spark_activator.errors import Refusal

# What nginx takes by default is 32 KiB in four buffers, h11's limit is 16 KiB;
# a request of a chat client has less than 1 KiB of head.
MAX_HEAD: Final = 16 * 1024
MAX_FIELDS: Final = 100

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) (HTTP/[0-9]\.[0-9])")
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")  # printable ASCII but '#'
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
_HOST = re.compile(rb"(?:[0-9A-Za-z][0-9A-Za-z._-]*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_LENGTH = re.compile(rb"[0-9]{1,15}")
# What lines may have in them.
_IN_LINES: Final = bytes([*b"\t", *range(0x20, 0x7F), *range(0x80, 0x100)])

# Between this client and us; the engine gets its own.  Forwarding one of them
# would let a client take part in our conversation with the engine.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
# Who asks is between the client and us: an engine that is broken into learns no key.
KEY_FIELDS: Final = (b"authorization", b"x-api-key", b"api-key")
# One of two would be believed here, and the other one there.
# Keys may be there twice: who asks with two has none.
_ONCE = frozenset({b"origin", b"content-type", b"content-encoding", b"expect"})
# `Connection: content-length` asks us to forget how long the body is.
_NEVER_NAMED = (
    _ONCE
    | frozenset(KEY_FIELDS)
    | {b"host", b"origin", b"content-length", b"transfer-encoding", b"x-forwarded-for"}
)
# Servers that hand fields on as variables (CGI, WSGI) read '_' as '-'.
_DISGUISED = frozenset({b"content_length", b"transfer_encoding"})
# These two say how long the body is on its way here.
_OF_THIS_HOP = HOP_BY_HOP | {b"content-length", b"transfer-encoding"}

# All values of each field, by its name in lower case.
_Named = dict[bytes, list[bytes]]


@dataclass(slots=True, eq=False)
class Head:
    """A request's head that means one thing only; made by `parse`.

    Attributes:
        method: Upper case, one of `METHODS`.
        target: Path and query as they were sent.
        minor: 0 or 1, of HTTP/1.x.
        path: The target without its query.
        fields: Lower-case names and values, in order, those of this hop left out.
        length: Bytes of the body; None when it is chunked.
        wants_continue: Whether the client waits for `100 Continue`.
        upgrade: What the client would like to speak instead, in lower case; empty
            where it would not.
    """

    method: str
    target: str
    minor: int
    fields: tuple[tuple[bytes, bytes], ...]
    _: KW_ONLY
    length: int | None
    wants_continue: bool
    upgrade: bytes
    path: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the path, which all who decide about a request look at."""
        self.path = self.target.partition("?")[0]

    @property
    def chunked(self) -> bool:
        """Whether the body says itself where it ends."""
        return self.length is None

    def values(self, name: bytes) -> list[bytes]:
        """All values of the field *name* (lower case), in order."""
        return [value for found, value in self.fields if found == name]

    def value(self, name: bytes) -> bytes | None:
        """The first value of the field *name* (lower case), or None.

        Host, Content-Type and Content-Encoding are there once at most.
        """
        return next(iter(self.values(name)), None)

    def with_length(self, length: int) -> Head:
        """Return this head for another body, of *length* bytes, for which nobody has to wait."""
        # `replace` finds out each time which attributes there are, and takes ten times as long.
        return Head(
            self.method, self.target, self.minor, self.fields,
            length=length, wants_continue=False, upgrade=self.upgrade,
        )  # fmt: skip

    def for_upstream(self) -> bytes:
        """Write the head that the engine gets: one request, then the connection ends."""
        lines = self._first_lines(self.fields)
        if self.length is None:
            lines.append(b"transfer-encoding: chunked")
        elif self.length or self.method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
            lines.append(b"content-length: %d" % self.length)
        lines += [b"connection: close", b"", b""]
        return b"\r\n".join(lines)

    def for_upgrade(self, fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
        """Write the head that asks the engine to speak `upgrade`, with *fields* for ours."""
        lines = self._first_lines(fields)
        lines += [b"connection: upgrade", b"upgrade: " + self.upgrade, b"", b""]
        return b"\r\n".join(lines)

    def _first_lines(self, fields: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
        line = f"{self.method} {self.target} HTTP/1.{self.minor}".encode()
        passed = [each for each in fields if each[0] not in KEY_FIELDS]
        return [line, *(name + b": " + value for name, value in passed)]


def find_end(received: bytes | bytearray) -> int | None:
    """Return how many bytes of *received* are the head, or None while more must come.

    Raises:
        Refusal: It can already be told that these bytes are no head of ours.
    """
    end = received.find(b"\r\n\r\n", 0, MAX_HEAD)
    head = received[: end + 4] if end >= 0 else received[:MAX_HEAD]
    if not head[:1].isalpha():
        raise Refusal("invalid_request", "the request does not begin with a method")
    if _has_forbidden(head):
        raise Refusal("invalid_request", "the request head has a control character in it")
    if end >= 0:
        return end + 4
    if len(received) >= MAX_HEAD:
        raise Refusal("head_too_large", f"the request head has more than {MAX_HEAD} bytes")
    return None


def _has_forbidden(head: bytes | bytearray) -> bool:
    """Whether *head* has what ends a line or a string for somebody, but CRLF.

    Found before the head is complete: who speaks TLS or sends LF alone would
    otherwise wait for an answer.
    """
    # A CR at the very end may get its LF.
    lines = head.removesuffix(b"\r").replace(b"\r\n", b"")
    return bool(lines.translate(None, _IN_LINES))


def parse(raw: bytes) -> Head:
    """Read a complete head, its empty line included.

    Raises:
        Refusal: It is not HTTP/1.x, or could be read in two ways.
    """
    if len(raw) > MAX_HEAD:
        raise Refusal("head_too_large", f"the request head has more than {MAX_HEAD} bytes")
    if not raw.endswith(b"\r\n\r\n") or _has_forbidden(raw):
        raise _invalid("the request head has a control character in it")
    lines = raw[:-4].split(b"\r\n")
    method, target, minor = _request_line(lines[0])
    if len(lines) - 1 > MAX_FIELDS:
        raise Refusal("head_too_large", f"the request head has more than {MAX_FIELDS} fields")
    fields = [_field(line) for line in lines[1:]]
    named: _Named = {}
    for name, value in fields:
        named.setdefault(name, []).append(value)
    _check_host(named.get(b"host", []), minor)
    _check_once(named)
    length = _body_length(named, minor)
    options = _options(named)
    dropped = _OF_THIS_HOP | (options - _NEVER_NAMED)
    return Head(
        method,
        target,
        minor,
        tuple([each for each in fields if each[0] not in dropped]),
        length=length,
        wants_continue=_wants_continue(named, minor),
        upgrade=_upgrade(named, options, minor),
    )


def _invalid(message: str) -> Refusal:
    return Refusal("invalid_request", message)


def _request_line(line: bytes) -> tuple[str, str, int]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _invalid("expected a request line 'METHOD /path HTTP/1.1'")
    method, target, version = match.groups()
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Refusal("http_version", f"expected HTTP/1.1 or HTTP/1.0, got {version.decode()}")
    name = method.decode()
    if name != name.upper():
        raise _invalid("expected a method in upper case")
    if name not in METHODS:
        raise Refusal("not_implemented", f"unknown method {name[:20]!r}")
    if _TARGET.fullmatch(target) is None:
        raise _invalid("expected a path that begins with '/' as the request's target")
    return name, target.decode("ascii"), int(version[-1:])


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        # A folded line ends up here, too: it begins with a space.
        raise _invalid("a line of the request head is no 'name: value'")
    name, value = match.groups()
    # Tabs around a value are legal and read differently by nginx: only spaces go.
    return name.lower(), value.strip(b" ")


def _check_host(hosts: list[bytes], minor: int) -> None:
    if not hosts and minor == 0:
        return
    if len(hosts) != 1:
        raise _invalid(f"expected one Host field, got {len(hosts)}")
    match = _HOST.fullmatch(hosts[0])
    if match is None or int(match[1] or 0) > 65535:
        raise _invalid("expected 'name' or 'name:port' as Host")


def _check_once(named: _Named) -> None:
    for name in _ONCE.intersection(named):
        if len(named[name]) > 1:
            raise _invalid(f"expected one {name.decode()}, got {len(named[name])}")
    if not _DISGUISED.isdisjoint(named):
        raise _invalid("a field that says how long the body is has '_' for '-' in its name")


def _body_length(named: _Named, minor: int) -> int | None:
    lengths = named.get(b"content-length", [])
    codings = named.get(b"transfer-encoding", [])
    if not codings:
        if not lengths:
            return 0
        if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
            raise _invalid("expected one number as Content-Length")
        return int(lengths[0])
    if lengths:
        raise _invalid("the request has both Content-Length and Transfer-Encoding")
    if minor == 0:
        raise _invalid("HTTP/1.0 has no Transfer-Encoding")
    if len(codings) > 1 or codings[0].lower() != b"chunked":
        raise Refusal("not_implemented", "expected 'chunked' as the only Transfer-Encoding")
    return None


def _wants_continue(named: _Named, minor: int) -> bool:
    expectations = named.get(b"expect", [])
    if not expectations or minor == 0:
        return False
    if [value.lower() for value in expectations] != [b"100-continue"]:
        raise Refusal("expectation_failed", "expected '100-continue' as the only Expect")
    return True


def _upgrade(named: _Named, options: set[bytes], minor: int) -> bytes:
    """Say what the client would like to speak: one protocol that `Connection` names, too."""
    protocols = named.get(b"upgrade", [])
    if minor == 0 or len(protocols) != 1 or b"upgrade" not in options:
        return b""
    return protocols[0].lower()


def _options(named: _Named) -> set[bytes]:
    """What `Connection` names, in lower case."""
    lists = [value.split(b",") for value in named.get(b"connection", [])]
    return {option.strip(b" \t").lower() for options in lists for option in options}

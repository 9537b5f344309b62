"""The lines between activator and runner.

One JSON object a line, UTF-8, at most `MAX_LINE` bytes with its newline.  The
first line says who is there (`Hello`); on a demand connection every later line
has a `type`.  **The open connection is the demand for the model**: it ends by
`Bye` (gone on purpose) or by EOF alone (lost: the model is kept for a while).

A control connection carries one `Control` and gets one `Answer`.

Unknown keys are ignored and unknown types are an error: a newer side that adds
a key can talk to us, one that adds a line has to raise `PROTOCOL`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar

from spark_activator.errors import SparkError

PROTOCOL = 1
# The oldest version that we still understand: "one version back".
OLDEST_PROTOCOL = 1
# A line is a few hundred bytes; 8 KiB leaves room for a long message and bounds
# what a broken peer can make us keep.
MAX_LINE = 8192


class ProtocolError(SparkError):
    """The other side sent a line that is not in the protocol; its connection ends."""


# By the name of an API key: requests, and tokens in and out.
Usage = dict[str, tuple[int, int, int]]
# Of one line: a name has up to 64 bytes and a number 15 digits, so that they fit.
USAGE_KEYS = 40
_LARGEST_COUNT = 10**15 - 1


@dataclass(frozen=True, slots=True)
class Hello:
    """The first line of every connection."""

    role: Literal["demand", "control"]
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Queued:
    """Waiting for the lease: *position* 1 is next; *ahead* names who is before us or holds it.

    Of who holds it and is in the way, stamps of CLOCK_BOOTTIME: *since* when it serves,
    *idle_since* when its last request ended, *due* when it goes at the latest.
    """

    type: ClassVar[str] = "queued"
    position: int
    ahead: tuple[str, ...] = ()
    eta: float | None = None
    holder: str | None = None
    since: float | None = None
    idle_since: float | None = None
    due: float | None = None


@dataclass(frozen=True, slots=True)
class Starting:
    """The engine is on its way: *phase* is a `state.Phase`, *progress* 0 to 1, *eta* seconds."""

    type: ClassVar[str] = "starting"
    phase: str
    progress: float | None = None
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine can generate; *upstream* is the activation whose directory has the socket."""

    type: ClassVar[str] = "ready"
    upstream: str


@dataclass(frozen=True, slots=True)
class Yield:
    """Somebody else needs the memory: finish what is in flight, open nothing new, say `Yielded`."""

    type: ClassVar[str] = "yield"
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine is not coming: *code* is a key of `errors.REFUSALS`, *retry_after* seconds.

    *holder* has the memory, until *due* (CLOCK_BOOTTIME), where that is why and known.
    """

    type: ClassVar[str] = "failed"
    code: str
    message: str
    retry_after: int | None = None
    holder: str | None = None
    due: float | None = None


@dataclass(frozen=True, slots=True)
class Stopping:
    """The engine goes away for a reason that is not ours: who still wants it connects again."""

    type: ClassVar[str] = "stopping"


@dataclass(frozen=True, slots=True)
class Busy:
    """How many requests are in flight, held ones included; sent on edges between 0 and more.

    *held*: of those, the ones that were held when the engine became ready; also
    sent when the last of them has ended.  None before it is ready.
    *usage*: what API keys have had since the last line that told of it.
    """

    type: ClassVar[str] = "busy"
    in_flight: int
    held: int | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Yielded:
    """Nothing of ours is open towards the engine any more; we close next."""

    type: ClassVar[str] = "yielded"


@dataclass(frozen=True, slots=True)
class Bye:
    """Gone on purpose: nobody wants the model any more, it need not be kept."""

    type: ClassVar[str] = "bye"


@dataclass(frozen=True, slots=True)
class Control:
    """What the command line asks for."""

    type: ClassVar[str] = "control"
    command: Literal["warm", "stop", "hold", "reset"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The one answer to a `Control`."""

    type: ClassVar[str] = "answer"
    ok: bool
    message: str


_T = TypeVar("_T")

FromRunner = Queued | Starting | Ready | Yield | Failed | Stopping
FromActivator = Busy | Yielded | Bye
Line = Hello | FromRunner | FromActivator | Control | Answer

FROM_RUNNER: dict[str, type[FromRunner]] = {
    kind.type: kind for kind in (Queued, Starting, Ready, Yield, Failed, Stopping)
}
FROM_ACTIVATOR: dict[str, type[FromActivator]] = {kind.type: kind for kind in (Busy, Yielded, Bye)}

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
    return _decode(line, FROM_RUNNER)


def decode_from_activator(line: bytes) -> FromActivator:
    """Read what an activator said after its hello.

    Raises:
        ProtocolError: The line is not in the protocol.
    """
    return _decode(line, FROM_ACTIVATOR)


def decode_control(line: bytes) -> Control:
    """Read what the command line asks for.

    Raises:
        ProtocolError: The line is not in the protocol.
    """
    control = _decode(line, {Control.type: Control})
    if control.command not in ("warm", "stop", "hold", "reset"):
        raise ProtocolError(f"unknown control command {control.command!r}")
    return control


def decode_answer(line: bytes) -> Answer:
    """Read the answer to a `Control`.

    Raises:
        ProtocolError: The line is not in the protocol.
    """
    return _decode(line, {Answer.type: Answer})


def decode(line: bytes, kinds: Mapping[str, type[_T]]) -> _T:
    """Read a line of another conversation, which has one of *kinds*, by its `type`.

    Raises:
        ProtocolError: It has none of them, or a wrong value.
    """
    return _decode(line, kinds)


def _usage(body: dict[str, Any]) -> Usage:
    for name, counts in body.items():
        if (
            len(body) > USAGE_KEYS
            or len(name) > 64  # http.keys.NAME
            or not isinstance(counts, list)
            or len(counts) != 3
            or not all(type(count) is int and 0 <= count <= _LARGEST_COUNT for count in counts)
        ):
            raise ProtocolError(f"busy: usage: expected three counts a key, got {counts!r:.80}")
    return {name: (requests, sent, got) for name, (requests, sent, got) in body.items()}


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


def _decode(line: bytes, kinds: Mapping[str, type[_T]]) -> _T:
    body = _object(line)
    name = body.get("type")
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"expected one of {', '.join(kinds)}, got {name!r}")
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        if field.name not in body:
            continue
        value = body[field.name]
        shape = _SHAPES.get(str(field.type), (str,))
        wrong = isinstance(value, bool) and bool not in shape
        # NaN is no JSON, but Python reads it; it compares with nothing.
        if wrong or not isinstance(value, shape) or value != value:
            raise ProtocolError(f"{name}: {field.name}: expected {field.type}, got {value!r}")
        if isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                raise ProtocolError(f"{name}: {field.name}: expected {field.type}, got {value!r}")
            value = tuple(value)
        if isinstance(value, dict):
            value = _usage(value)
        values[field.name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise ProtocolError(f"{name}: a key is missing in {line[:80]!r}") from error

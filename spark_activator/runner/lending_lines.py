"""What is said on the socket for other programs: one request, then lines until the last.

`granted` is the last line of a lease and carries the lock's descriptor: who
has it, or inherited it, has the lease.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import ClassVar

from spark_activator.protocol import ProtocolError
from spark_activator.protocol_json import decode

# Part of a file's name.  It leaves room for the number of a second one.
LONGEST_NAME = 40
_NAME = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")
# A year: longer than any machine of this kind stays up, and within what a clock counts.
LONGEST = 366 * 86400.0
# More than any machine has, and within what a float counts exactly.
MOST_MEMORY = 1 << 50


@dataclass(frozen=True, slots=True)
class Borrow:
    """Asks for a lease.

    Attributes:
        name: What others see; see `wrong_name`.
        memory: Bytes.
        exclusive: Whether everybody else has to be gone.
        seconds: How long it will be held, None where nobody knows.
    """

    type: ClassVar[str] = "lease"
    name: str
    memory: int
    exclusive: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PauseGpu:
    """Asks that nobody gets the GPU for *seconds*, None: until `resume`."""

    type: ClassVar[str] = "pause"
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ResumeGpu:
    """Ends a pause."""

    type: ClassVar[str] = "resume"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The lease is waited for: *words* say for what or whom."""

    type: ClassVar[str] = "waiting"
    words: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The lease is the client's, as *name*; *until* is CLOCK_BOOTTIME or None."""

    type: ClassVar[str] = "granted"
    name: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """It is not: *code* is a key of `REFUSALS`."""

    type: ClassVar[str] = "denied"
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Done:
    """The pause is as was asked, until *until* (CLOCK_BOOTTIME) or None."""

    type: ClassVar[str] = "done"
    until: float | None = None


Request = Borrow | PauseGpu | ResumeGpu
Reply = Waiting | Granted | Denied | Done

_REQUESTS: dict[str, type[Request]] = {kind.type: kind for kind in (Borrow, PauseGpu, ResumeGpu)}
_REPLIES: dict[str, type[Reply]] = {kind.type: kind for kind in (Waiting, Granted, Denied, Done)}


def encode(line: Request | Reply) -> bytes:
    """Write *line* as one line of JSON."""
    return json.dumps({"type": line.type, **asdict(line)}, separators=(",", ":")).encode() + b"\n"


def decode_request(line: bytes) -> Request:
    """Read what a client asks for.

    Raises:
        ProtocolError: It is no request, or asks for what cannot be.
    """
    request = decode(line, _REQUESTS)
    if isinstance(request, Borrow):
        if not _NAME.fullmatch(request.name):
            raise ProtocolError(f"lease: name: expected a plain name, got {request.name!r}")
        if not 0 < request.memory <= MOST_MEMORY:
            raise ProtocolError(f"lease: memory: expected bytes, got {request.memory}")
    if isinstance(request, Borrow | PauseGpu):
        seconds = request.seconds
        if seconds is not None and not 0 < seconds <= LONGEST:
            raise ProtocolError(f"{request.type}: seconds: expected up to a year, got {seconds}")
    return request


def decode_reply(line: bytes) -> Reply:
    """Read what came back.

    Raises:
        ProtocolError: It is no reply.
    """
    return decode(line, _REPLIES)


def plain_name(text: str) -> str:
    """Make of *text*, a program's name for example, one that a lease can have."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".")[:LONGEST_NAME]
    return name or "program"

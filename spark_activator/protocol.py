"""The lines between activator and runner; `protocol_json` writes and reads them.

One JSON object a line, UTF-8, at most `MAX_LINE` bytes with its newline.  The
first line says who is there (`Hello`); on a demand connection every later line
has a `type`.  **The open connection is the demand for the model**: it ends by
`Bye` (gone on purpose) or by EOF alone (lost: the model is kept for a while).

A control connection carries one `Control` and gets one `Answer`.

Unknown keys are ignored and unknown types are an error: a newer side that adds
a key can talk to us, one that adds a line has to raise `PROTOCOL`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

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
LARGEST_COUNT = 10**15 - 1


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


FromRunner = Queued | Starting | Ready | Yield | Failed | Stopping
FromActivator = Busy | Yielded | Bye
Line = Hello | FromRunner | FromActivator | Control | Answer

FROM_RUNNER: dict[str, type[FromRunner]] = {
    kind.type: kind for kind in (Queued, Starting, Ready, Yield, Failed, Stopping)
}
FROM_ACTIVATOR: dict[str, type[FromActivator]] = {kind.type: kind for kind in (Busy, Yielded, Bye)}

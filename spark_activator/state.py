"""What is going on with one model: the file that the runner replaces and everybody may read.

Whoever looks reads this file and waits by inotify; looking never connects, so
it never wakes a model.  No file means that no runner is there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Phase(StrEnum):
    """Where one activation of an engine is, in the order in which it gets there."""

    QUEUED = "queued"  # wants the lease
    MEMORY = "memory"  # has the lease, waits for memory that is really free
    CONTAINER = "container"  # the engine's process is being made
    WEIGHTS = "weights"  # the engine reads its weights
    COMPILE = "compile"  # the engine compiles
    GRAPHS = "graphs"  # the engine captures CUDA graphs
    WARMUP = "warmup"  # the engine answers, and is asked for one token
    READY = "ready"  # it can generate
    DRAINING = "draining"  # it finishes what is in flight, nothing new is opened
    STOPPING = "stopping"  # it was told to end
    RECLAIMING = "reclaiming"  # it has ended, its memory is not back yet


@dataclass(frozen=True, slots=True)
class State:
    """One moment of one model.

    Attributes:
        model: Its name.
        phase: Where it is.
        since: When it got there, in seconds of CLOCK_BOOTTIME.
        waiting_for: In words for a person; empty when nothing is waited for.
        activation: Eight hex digits, or None while there is none.
        in_flight: Requests that activators reported last.
        position: Place in the queue, 1 is next; None when not queued.
        ahead: Models before us in the queue, the holder last.
        progress: Of this phase, 0 to 1, or None where unknown.
        eta: Seconds until ready, or None where unknown.
        stopped_by: Why it is draining, stopping or reclaiming; empty otherwise.
    """

    model: str
    phase: Phase
    since: float
    waiting_for: str = ""
    activation: str | None = None
    in_flight: int = 0
    position: int | None = None
    ahead: tuple[str, ...] = ()
    progress: float | None = None
    eta: float | None = None
    stopped_by: str = ""

    def to_json(self) -> str:
        """Write it as one line."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> State:
        """Read what `to_json` wrote; keys that we do not know are ignored.

        Raises:
            ValueError: It is not such a text.
        """
        body: Any = json.loads(text)
        if not isinstance(body, dict):
            raise ValueError("expected a JSON object")
        known = {key: value for key, value in body.items() if key in cls.__slots__}
        try:
            known["phase"] = Phase(known["phase"])
            known["ahead"] = tuple(known.get("ahead", ()))
            return cls(**known)
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected a state, got {text[:80]!r}") from error

    def sentence(self) -> str:
        """Say it as `systemctl status` shows it, e.g. 'queued: position 2, behind qwen3'."""
        words = [self.waiting_for] if self.waiting_for else []
        if self.progress is not None:
            words.append(f"{self.progress:.0%}")
        if self.eta is not None:
            words.append(f"about {self.eta:.0f} s left")
        if self.in_flight:
            words.append(f"{self.in_flight} in flight")
        return f"{self.phase}: {', '.join(words)}" if words else str(self.phase)

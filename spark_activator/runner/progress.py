"""What an engine's log lines say about how far it is: text in, values out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_activator.state import Phase

# Phases of a start, in their order.  Engines repeat lines of earlier phases (a
# draft model has weights too), so `Tracker` never goes back.
ORDER = (Phase.CONTAINER, Phase.WEIGHTS, Phase.COMPILE, Phase.GRAPHS, Phase.WARMUP)

# A log line can be a whole prompt; what we look for is at its beginning.
LOOKED_AT = 400

_PERCENT = r"[^\d%]*?(\d{1,3})%"
_SIGNS: tuple[tuple[Phase, re.Pattern[str]], ...] = (
    (Phase.WEIGHTS, re.compile(rf"Loading safetensors checkpoint shards{_PERCENT}")),
    (Phase.WEIGHTS, re.compile(r"Starting to load model|Loading weights took")),
    (
        Phase.COMPILE,
        re.compile(r"torch\.compile takes|Dynamo bytecode transform|Compiling a graph"),
    ),
    (Phase.GRAPHS, re.compile(rf"Capturing CUDA graphs?{_PERCENT}")),
    (Phase.GRAPHS, re.compile(r"Capturing CUDA graph|Graph capturing finished")),
    (Phase.WARMUP, re.compile(r"Application startup complete|Uvicorn running")),
)
_DONE = re.compile(r"Loading weights took|Graph capturing finished")


@dataclass(frozen=True, slots=True)
class Progress:
    """A phase of a start, and how much of it is done, 0 to 1, or None where unknown."""

    phase: Phase
    share: float | None = None


def read_line(line: str) -> Progress | None:
    """Say what *line* tells of a start, None where it tells nothing."""
    head = line[:LOOKED_AT]
    for phase, sign in _SIGNS:
        found = sign.search(head)
        if found is None:
            continue
        if found.groups():
            return Progress(phase, min(int(found.group(1)), 100) / 100)
        return Progress(phase, 1.0 if _DONE.search(head) else None)
    return None


class Tracker:
    """The furthest that a start has got."""

    def __init__(self) -> None:
        self.now = Progress(Phase.CONTAINER)

    def hear(self, line: str) -> bool:
        """Take in one log line; True when it moved the start forward."""
        said = read_line(line)
        if said is None or ORDER.index(said.phase) < ORDER.index(self.now.phase):
            return False
        if said.phase is self.now.phase and (said.share or 0) <= (self.now.share or 0):
            return False
        self.now = said
        return True

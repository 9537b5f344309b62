"""What Docker says while it pulls and builds → one line for a person, now and then."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

GIB = 1 << 30
# On a terminal the line is rewritten; in a log a line every ten seconds is enough.
TERMINAL_PACE = 0.2
LOG_PACE = 10.0

_COMPLETE = ("Download complete", "Pull complete", "Already exists", "Verifying Checksum")
# Colours, titles, the moves of a cursor (ECMA-48), and what else is no letter.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]"
)
_DONE = ("Pull complete", "Already exists")


@dataclass(slots=True)
class Layer:
    """One layer: bytes that came and that it has, and how far it is; -1 is not known."""

    total: int = -1
    came: int = 0
    done: bool = False


@dataclass(slots=True)
class Pull:
    """Layers of a pull, as Docker's events tell of them."""

    layers: dict[str, Layer] = field(default_factory=dict)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        name, status = event.get("id"), str(event.get("status", ""))
        # What says something of the pull as a whole has the tag as its id.
        if not isinstance(name, str) or status.startswith(("Pulling from", "Digest", "Status")):
            return
        layer = self.layers.setdefault(name, Layer())
        detail = event.get("progressDetail") or {}
        if status == "Downloading" and isinstance(detail.get("total"), int):
            layer.total = detail["total"]
            layer.came = int(detail.get("current", 0))
        if status in _COMPLETE:
            layer.came = max(layer.came, layer.total)
        layer.done = layer.done or status in _DONE

    @property
    def came(self) -> int:
        """Bytes that have come, compressed."""
        return sum(layer.came for layer in self.layers.values())

    @property
    def total(self) -> int:
        """Bytes that have to come, compressed, of the layers whose size is known by now."""
        return sum(max(layer.total, 0) for layer in self.layers.values())

    @property
    def left(self) -> int:
        """Bytes that are still to come, as far as is known."""
        return self.total - self.came

    def line(self) -> str:
        """Say how far it is."""
        done = sum(layer.done for layer in self.layers.values())
        return (
            f"{done} of {len(self.layers)} layers, "
            f"{self.came / GIB:.2f} of {self.total / GIB:.2f} GiB"
        )


class Lines:
    """What a build writes, which is meant for a terminal → its lines."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> Iterator[str]:
        """Yield the lines that *text* ends."""
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            yield from _shown(line)

    def end(self) -> Iterator[str]:
        """Yield what came of a last line."""
        rest, self._rest = self._rest, ""
        yield from _shown(rest)


def _shown(line: str) -> Iterator[str]:
    # Programs go back to its beginning and write anew: the last is what stays.
    last = line.rstrip("\r").rpartition("\r")[2]
    plain = _CONTROL.sub("", last).rstrip()
    if plain:
        yield plain


class Teller:
    """Prints lines at a pace: over each other on a terminal, below each other elsewhere."""

    def __init__(
        self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = out or sys.stdout
        self._clock = clock
        self._terminal = self._out.isatty()
        self._next = clock() + (0 if self._terminal else LOG_PACE)
        self._drawn = False

    def tell(self, line: str) -> None:
        """Print *line*, if it is time."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (TERMINAL_PACE if self._terminal else LOG_PACE)
        if self._terminal:
            # To the left, erase to the end.
            self._out.write(f"\r\x1b[K{line}")
            self._drawn = True
        else:
            self._out.write(f"{line}\n")
        self._out.flush()

    def say(self, line: str) -> None:
        """Print *line* as it is, on a line of its own."""
        self.end()
        self._out.write(f"{line}\n")
        self._out.flush()

    def end(self) -> None:
        """Take away what was drawn."""
        if self._drawn:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._drawn = False

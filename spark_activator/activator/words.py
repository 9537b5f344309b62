"""How things are, in words for a person: `systemctl status` and refusals."""

from __future__ import annotations

import math
import time

from spark_activator.protocol import FromRunner, Queued, Ready, Starting, Yield


def sentence(line: FromRunner | None, *, in_flight: int, waiting: int) -> str:
    """Say what the runner said last, and how many requests there are."""
    words = [situation(line)]
    if waiting:
        words.append(f"{waiting} held")
    if in_flight > waiting:
        words.append(f"{in_flight - waiting} being answered")
    return ", ".join(words)


def situation(line: FromRunner | None, now: float | None = None) -> str:
    """Say what the runner said last; *now* is CLOCK_BOOTTIME, where what passes is of use."""
    match line:
        case None:
            return "model not asked for"
        case Queued(position, ahead, eta):
            behind = f", behind {', '.join(ahead)}" if ahead else ""
            return f"queued: position {position}{behind}{_left(eta)}{_turn(line.due, now)}"
        case Starting(phase, progress, eta):
            share = "" if progress is None else f" {progress:.0%}"
            return f"starting: {phase}{share}{_left(eta)}"
        case Ready():
            return "ready"
        case Yield(reason):
            return f"giving the model away: {reason}"
        case _:
            return "engine gone"


def phase(line: FromRunner | None) -> str:
    """Say it as the state file does, and lists of models: a phase, or `not loaded`."""
    match line:
        case Queued():
            return "queued"
        case Starting(phase):
            return phase
        case Ready():
            return "ready"
        case Yield():
            return "draining"
        case _:
            return "not loaded"


def _left(eta: float | None) -> str:
    return "" if eta is None else f", about {eta:.0f} s left"


def _turn(due: float | None, now: float | None) -> str:
    # In minutes, so that it is news once a minute.
    if due is None or now is None:
        return ""
    return f", its turn within {max(1, math.ceil((due - now) / 60))} min"


def boottime() -> float:
    """Return the clock that the runner's stamps are on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

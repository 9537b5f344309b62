"""What a waiter that the plan sends away is told."""

from __future__ import annotations

import math
import time

from spark_activator.errors import EngineFailed
from spark_activator.runner.memory import GIB
from spark_activator.runner.plan import Refusal, Refuse, Ticket

# Whoever is told to come back in hours does not: the holder may end earlier.
LONGEST_RETRY = 15 * 60


def refused(ticket: Ticket, step: Refuse, *, budget: int, now: float) -> EngineFailed:
    """Say why *ticket* is sent away by *step*; *now* is CLOCK_BOOTTIME, *budget* bytes."""
    name = shown(ticket.model)
    size = "all" if ticket.memory is None else f"{ticket.memory / GIB:.1f} GiB"
    holders = " and ".join(f"'{shown(holder)}'" for holder in step.holders)
    first = shown(step.holders[0]) if step.holders else None
    end, retry = "", None
    if step.until is not None:
        left = max(1.0, step.until - now)
        end = f" until {clock(left)}"
        retry = min(math.ceil(left), LONGEST_RETRY)
    match step.why:
        case Refusal.TOO_BIG:
            return EngineFailed(
                "memory_short",
                f"'{name}' needs {size} of memory and {budget / GIB:.1f} GiB are shared in all "
                "(change 'memory' of the model, or 'budget' in host.yaml)",
            )
        case Refusal.PAUSED:
            words = f"the owner has paused the GPU{end or ' for now'} (see: spark-model resume)"
            return EngineFailed("gpu_paused", words, retry_after=retry)
        case Refusal.BUSY:
            words = f"'{name}' needs {size} of memory, and {holders} would have to go, but is busy"
            return EngineFailed("gpu_busy", words, retry_after=retry, holder=first)
        case Refusal.HELD:
            words = f"'{name}' needs {size} of memory, and {holders} keeps what it has{end}"
            words = f"{words} (see: spark-model lease show)"
            return EngineFailed("gpu_held", words, retry_after=retry, holder=first, due=step.until)


def clock(left: float) -> str:
    """Say what the clock on the wall shows in *left* seconds, with the date where that changes."""
    at = time.localtime(time.time() + left)
    today = at[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", at)


def shown(name: str) -> str:
    """Return *name* as people see it: a foreign lease is marked with a plus in the files."""
    return name.removeprefix("+")

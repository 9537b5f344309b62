"""What goes wrong on purpose: at the start, and by request."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from typing import NoReturn

from spark_activator.demo.log import say
from spark_activator.demo.settings import Faults

# A child that a failed test forgot must end by itself some time.
CHILD_LIMIT = 600

# What a hard death exits with; unlike any status that Python itself uses.
DEATH_STATUS = 70

_DIRECTIVE = re.compile(r"fault: *(die|cut|hang) +after +(\d{1,9})|fault: *status +([45]\d\d)")


class ToldToExit(Exception):
    """The engine leaves now, with *status*."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Directive:
    """A fault that one request asks for.

    Attributes:
        kind: `die` ends the process, `cut` the connection, `hang` the progress,
            and `status` answers with an error.
        number: Tokens that are sent before it, or the status.
    """

    kind: str
    number: int


def directive(text: str) -> Directive | None:
    """Find what *text* asks for, e.g. 'fault: cut after 3' or 'fault: status 503'."""
    found = _DIRECTIVE.search(text)
    if found is None:
        return None
    if found[3]:
        return Directive("status", int(found[3]))
    return Directive(found[1], int(found[2]))


def die() -> NoReturn:
    """End the process now: nothing is flushed, closed or unlinked."""
    say("Engine core died: told to die")
    os._exit(DEATH_STATUS)


def exit_at(phase: str, faults: Faults) -> None:
    """Leave, if this is the *phase* in which that was told.

    Raises:
        ToldToExit: It is.
    """
    if faults.exit_at_start is not None and faults.exit_phase == phase:
        say("Traceback (most recent call last):")
        say('  File "engine.py", line 1, in <module>')
        say(faults.exit_message)
        raise ToldToExit(faults.exit_at_start)


def fork_child(kind: str) -> int:
    """Leave a child that outlives us: it keeps our log open, as a leaked worker does.

    Args:
        kind: `group` leaves it in our process group, `session` makes it one of its own.

    Returns:
        Its process id.
    """
    child = os.fork()
    if child:
        say(f"Forked child {child} ({kind})")
        return child
    try:
        if kind == "session":
            os.setsid()
        signal.alarm(CHILD_LIMIT)
        signal.pause()
    finally:
        os._exit(0)

"""`spark-model lease run` and `hold`: GPU memory for what is no model."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from spark_activator.catalog.quantities import format_size
from spark_activator.cli import command, tables
from spark_activator.cli.lender import Lender
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner.gpu_files import boottime
from spark_activator.runner.lending_lines import Borrow, Granted, plain_name

# Those of a shell, and of sysexits.h for what may succeed later: all else is the command's.
NOT_EXECUTABLE = 126
NOT_FOUND = 127
NO_LEASE = 75
# Waiting stands still while the machine sleeps, and the lease's end does not: look again.
LOOK_AGAIN = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: *memory* in bytes, *timeout* in seconds or None for no limit."""

    memory: int
    exclusive: bool
    timeout: float | None


def run(layout: Layout, wish: Wish, argv: Sequence[str], name: str | None) -> int:
    """Run *argv* under a lease and return its exit status; 75 where there is no lease.

    Raises:
        UserError: Nobody lends.
    """
    # Not after an hour in the queue.
    if shutil.which(argv[0]) is None:
        found = os.path.exists(argv[0])
        _say(f"cannot run '{argv[0]}': {'not executable' if found else 'not found'}")
        return NOT_EXECUTABLE if found else NOT_FOUND
    called = plain_name(name or os.path.basename(argv[0]))
    lent = _borrow(layout, wish, Borrow(called, wish.memory, wish.exclusive))
    if lent is None:
        return NO_LEASE
    _, lock = lent
    # Ours stays open, too: a command that closes what it inherits keeps its lease.
    try:
        return command.run(argv, lock)
    except OSError as error:
        _say(f"cannot run '{argv[0]}': {error.strerror}")
        return NOT_EXECUTABLE
    finally:
        os.close(lock)


def hold(layout: Layout, wish: Wish, seconds: float) -> int:
    """Have a lease for *seconds* or until Ctrl-C.

    Raises:
        UserError: Nobody lends.
    """
    lent = _borrow(layout, wish, Borrow("hold", wish.memory, wish.exclusive, seconds))
    if lent is None:
        return NO_LEASE
    granted, lock = lent
    until = granted.until
    assert until is not None  # what was asked for
    try:
        # Here and not before: while it waits, a signal ends it as any other program.
        ends = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        size = format_size(wish.memory)
        print(f"{size} are yours until {tables.clock(until)}, or Ctrl-C", flush=True)
        while (left := until - boottime()) > 0:
            if signal.sigtimedwait(ends, min(left, LOOK_AGAIN)) is not None:
                break
    finally:
        os.close(lock)
    print("given back")
    return 0


def _borrow(layout: Layout, wish: Wish, request: Borrow) -> tuple[Granted, int] | None:
    """Wait for a lease; None where there is none, which was said."""
    began = time.monotonic()

    def say(words: str) -> None:
        _say(f"waiting for {words}")

    try:
        with Lender(layout) as lender:
            granted, lock = lender.borrow(request, wish.timeout, say)
    except EngineFailed as failure:
        _say(f"no lease: {failure.message}")
        return None
    except TimeoutError:
        _say(f"no lease within {tables.span(time.monotonic() - began)}")
        return None
    if granted.name != request.name:
        _say(f"called '{granted.name}', since there is a '{request.name}'")
    return granted, lock


def _say(words: str) -> None:
    print(f"spark-model: {words}", file=sys.stderr, flush=True)

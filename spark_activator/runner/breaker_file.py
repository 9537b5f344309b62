"""The breaker's record and the hold, on disk: they outlive a crash and a reboot.

What cannot be written down is not held against a model: each process would
begin the pause anew, and nobody could end it.  That is said in the journal.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from spark_activator.layout import Layout
from spark_activator.runner import breaker
from spark_activator.runner.breaker import Record
from spark_activator.runner.lock import write_text

logger = logging.getLogger(__name__)


def read(layout: Layout, name: str) -> Record:
    """Read what is known of the last starts of *name*; stamps are never of the future."""
    file, now = layout.breaker(name), time.time()
    try:
        stored = breaker.from_json(file.read_text("utf-8"))
    except FileNotFoundError:
        return Record()
    except OSError as error:
        logger.error("Cannot read '%s', going on without it: %s", file, error)
        return Record()
    except ValueError as error:
        logger.error("'%s' is broken, starting with a pause: %s", file, error)
        record = breaker.unreadable(now)
        return record if write(layout, name, record) else Record()
    record = breaker.mend(stored, now)
    if record == stored or write(layout, name, record):
        return record
    return Record()


def write(layout: Layout, name: str, record: Record) -> bool:
    """Replace the record of *name*; False, and a line in the journal, when it cannot be."""
    file = layout.breaker(name)
    try:
        if record.empty:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            write_text(file, breaker.to_json(record))
            _sync(file)
    except OSError as error:
        logger.error("Cannot remember how the start went: %s", error)
        return False
    return True


def is_held(layout: Layout, name: str) -> bool:
    """Say whether *name* was stopped until somebody warms it."""
    return layout.hold(name).exists()


def hold(layout: Layout, name: str) -> None:
    """Hold *name*.

    Raises:
        OSError: It cannot be written.
    """
    file = layout.hold(name)
    file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    file.touch(mode=0o640)
    _sync(file.parent)


def let_go(layout: Layout, name: str) -> None:
    """End the hold.

    Raises:
        OSError: It cannot be removed.
    """
    layout.hold(name).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    # Failures come with machines that hang and are switched off.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

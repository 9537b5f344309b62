"""Our lines in the journal: to stderr, with the priority that journald reads."""

from __future__ import annotations

import logging
import os
import sys

# See sd-daemon(3).
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class _Journal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # Each line of a traceback is a line of the journal.
        priority = _PRIORITY.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def configure() -> None:
    """Log to stderr."""
    target = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        target.setFormatter(_Journal("%(message)s"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[target])

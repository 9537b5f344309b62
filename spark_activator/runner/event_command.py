"""`python -m spark_activator.runner.event_command`: run the owner's command for one event.

systemd starts it with the event's connection as standard input, the host
settings as a credential, a user of its own and a time limit.  It reads one line
and becomes the command, with that line on its standard input.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from spark_activator.catalog import frozen
from spark_activator.errors import FileProblems
from spark_activator.runner import logs

logger = logging.getLogger(__name__)

# More than `events.line` makes; whoever sends more is no runner of ours.
MAX_LINE = 8192
CREDENTIAL = "host.json"


def main() -> int:
    """Become the command; return only where there is none."""
    logs.configure()
    file = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / CREDENTIAL
    try:
        command = frozen.load_host(file.read_text("utf-8"), file=str(file)).on_event
    except (OSError, ValueError, FileProblems) as error:
        logger.error("Cannot read the host settings: %s", error)
        return 1
    line = sys.stdin.buffer.readline(MAX_LINE)
    if not command or not line.endswith(b"\n"):
        return 0
    ours, theirs = os.pipe()
    # A pipe holds 64 KiB: nobody has to read yet.
    os.write(theirs, line)
    os.close(theirs)
    os.dup2(ours, 0)
    os.close(ours)
    try:
        os.execvp(command[0], command)  # noqa: S606  # the owner's words, without a shell
    except OSError as error:
        logger.error("Cannot run '%s' (on_event): %s", command[0], error.strerror)
    return 1


if __name__ == "__main__":
    sys.exit(main())

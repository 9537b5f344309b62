"""Says what happened to the owner's command: one line, sent and forgotten.

The runner has no right to run it, and never waits for it: systemd takes the
line and starts a unit for it (units/spark-event.socket).
"""

from __future__ import annotations

import json
import logging
import socket
from datetime import UTC, datetime
from enum import StrEnum

from spark_activator.layout import Layout
from spark_activator.runner import settings

logger = logging.getLogger(__name__)

# Characters.  JSON makes at most six bytes of one, so that a line stays below
# `event_command.MAX_LINE`; an empty socket buffer takes that at once.
MAX_MESSAGE = 1000


class Event(StrEnum):
    """What the owner's command is told."""

    FAILED = "failed"
    BREAKER_OPEN = "breaker_open"
    EVICTED = "evicted"


def line(
    event: Event, model: str, at: datetime, *, code: str = "", message: str = "", to: str = ""
) -> bytes:
    """Return the line that says *event*; *at* is in UTC, for the others see `tell`."""
    body = {
        "event": event,
        "model": model,
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "code": code,
        "message": message[:MAX_MESSAGE],
        "for": to,
    }
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    # An engine's words may hold half a character.
    return text.encode("utf-8", "replace") + b"\n"


def tell(
    layout: Layout, event: Event, model: str, *, code: str = "", message: str = "", to: str = ""
) -> None:
    """Send one event, where the owner has a command for them.  Never waits, never raises.

    Args:
        layout: Where the socket is.
        event: What happened.
        model: Whose.
        code: A key of `errors.REFUSALS`, where one fits.
        message: For a person; cut after `MAX_MESSAGE`.
        to: The model that it had to go for.
    """
    if not settings.load_host(layout).on_event:
        return
    said = line(event, model, datetime.now(UTC), code=code, message=message, to=to)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(str(layout.event_socket))
            sock.send(said)
    except FileNotFoundError:
        logger.debug("Nobody listens for events, ignoring '%s'", event)
    except OSError as error:
        logger.warning("Failed to say '%s' to the command of on_event: %s", event, error)

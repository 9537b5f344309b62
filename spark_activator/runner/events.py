"""Says what happened to the owner's command: one line, sent and forgotten.

The runner has no right to run it, and never waits for it: systemd takes the
line and starts a unit for it (units/spark-event.socket).
"""

from __future__ import annotations

import json
import logging
import socket
import time

from spark_activator.layout import Layout
from spark_activator.runner import settings

logger = logging.getLogger(__name__)

# An empty socket buffer takes this much at once, so that sending never waits.
MAX_LINE = 8192
MAX_MESSAGE = 1000


def tell(
    layout: Layout, event: str, model: str, *, code: str = "", message: str = "", to: str = ""
) -> None:
    """Send one event, where the owner has a command for them.

    Args:
        layout: Where the socket is.
        event: `failed`, `breaker_open` or `evicted`.
        model: Whose.
        code: A key of `errors.REFUSALS`, where one fits.
        message: For a person.
        to: The model that it went for.
    """
    if not settings.load_host(layout).on_event:
        return
    body = {
        "event": event,
        "model": model,
        "time": int(time.time()),
        "code": code,
        "message": message[:MAX_MESSAGE],
        "to": to,
    }
    line = json.dumps(body, separators=(",", ":")).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(str(layout.event_socket))
            sock.send(line)
    except FileNotFoundError:
        logger.debug("Nobody listens for events, ignoring '%s'", event)
    except OSError as error:
        logger.warning("Failed to say '%s' to the command of on_event: %s", event, error)

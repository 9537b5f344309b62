"""Connect to the engine of one activation."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from spark_activator.activator import unixsocket
from spark_activator.activator.wire import UpstreamGone, Wire
from spark_activator.errors import Refusal

# The name that the engine's socket has in the directory of its activation.
ENGINE_SOCKET: Final = "engine.sock"
# An engine that is ready accepts; one whose backlog is full this long is stuck.
CONNECT_LIMIT: Final = 10.0
# Ours, and closing connections give some back.
SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class EngineUnreachable(Exception):  # the caller decides what it means
    """Nobody listens on the engine's socket (any more)."""


async def connect(directory: Path) -> Wire:
    """Connect to the engine whose activation has *directory*.

    Raises:
        EngineUnreachable: It is gone.
        Refusal: It is there, and does not accept.
    """
    try:
        sock = await unixsocket.connect(directory, ENGINE_SOCKET, limit=CONNECT_LIMIT)
    except BlockingIOError as error:
        raise Refusal("overloaded", "the engine does not accept connections") from error
    except OSError as error:
        if error.errno in SHORT:
            raise Refusal("overloaded", "more connections than can be served") from error
        raise EngineUnreachable(str(error)) from error
    return Wire(sock, UpstreamGone)

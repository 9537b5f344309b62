"""Ports on which nobody listens."""

from __future__ import annotations

import atexit
import socket
from contextlib import ExitStack

_kept = ExitStack()
atexit.register(_kept.close)


def free_port() -> int:
    """Return a port of 127.0.0.1 for a program that has to be told one.

    It stays ours: nobody else is given it meanwhile.  Who listens there with SO_REUSEADDR,
    as servers do, may all the same, since we do not listen; see socket(7).
    """
    kept = _kept.enter_context(socket.socket())
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return int(kept.getsockname()[1])

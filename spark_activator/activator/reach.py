"""Connect to the engine of an activation."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Final

from spark_activator.activator import unixsocket
from spark_activator.activator.unixsocket import Found
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


class Engines:
    """The engines of one model, each by its activation.

    To find an engine's socket takes longer than to connect to it.  So the last one
    that was found is kept, and looked for anew where it is not what lies there any
    more, or takes no connection.

    Args:
        upstreams: Holds one directory an activation.
    """

    def __init__(self, upstreams: Path) -> None:
        self._upstreams = upstreams
        self._activation = ""
        self._found: Found | None = None

    async def connect(self, activation: str) -> Wire:
        """Connect to the engine of *activation*.

        Raises:
            EngineUnreachable: It is gone.
            Refusal: It is there, and does not accept.
        """
        sock = self._connect_to_known(activation)
        if sock is None:
            sock = await self._find_and_connect(activation)
        return Wire(sock, UpstreamGone)

    def close(self) -> None:
        """Forget what was found."""
        self._keep("", None)

    def _connect_to_known(self, activation: str) -> socket.socket | None:
        if self._found is None or activation != self._activation:
            return None
        try:
            if self._found.is_there():
                return self._found.connect()
        except OSError:
            pass  # whoever looks for it anew learns what that means
        self.close()
        return None

    async def _find_and_connect(self, activation: str) -> socket.socket:
        try:
            found = unixsocket.find(self._upstreams / activation, ENGINE_SOCKET)
            try:
                sock = await found.connect_within(CONNECT_LIMIT)
            except BaseException:
                found.close()
                raise
        except OSError as error:
            raise _meaning(error) from error
        self._keep(activation, found)
        return sock

    def _keep(self, activation: str, found: Found | None) -> None:
        if self._found is not None:
            self._found.close()
        self._activation, self._found = activation, found


def _meaning(error: OSError) -> EngineUnreachable | Refusal:
    if isinstance(error, BlockingIOError):
        return Refusal("overloaded", "the engine does not accept connections")
    if error.errno in SHORT:
        return Refusal("overloaded", "more connections than can be served")
    return EngineUnreachable(str(error))

"""One client and its connection to the engine: two flows, and how they end.

A lane has the response (until the engine's end of file, or its announced length)
and the rest of the request (at most so many bytes).  It is told what happened to which of its
sockets, moves what can be moved, and says what to wait for next: `wanted` is
derived from the state of both flows, so that no transition can forget a bit.

EPOLLHUP and EPOLLERR cannot be masked.  So nothing at all may be waited for on
the engine's socket while nothing is wanted of it; the client's is watched as
long as the lane lives, since to see the client leave is the point.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import Literal

from spark_activator.activator.flow import Change, Flow, SharedPipe, Tap

# A response that does not announce its length has no limit but its end.
UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Relayed:
    """How a relay ended.

    Attributes:
        ended: "client" means that it left before the engine was done.
        cut: Whether the engine's connection broke instead of being closed, in
            which case the client must see a broken connection, too.
    """

    bytes_down: int
    bytes_up: int
    ended: Literal["upstream", "client"]
    cut: bool = False


class Lane:
    """Both directions between two sockets.

    Attributes:
        down: The client's descriptor.
        up: The engine's.
        relayed: How it ended, None until then.
    """

    __slots__ = (
        "_downstream",
        "_hears",
        "_request",
        "_response",
        "_upstream",
        "down",
        "relayed",
        "up",
    )

    def __init__(
        self,
        downstream: socket.socket,
        upstream: socket.socket,
        request_body: int,
        response_body: int = UNLIMITED,
        show: Callable[[bytes | memoryview], None] | None = None,
    ) -> None:
        self.down, self.up = downstream.fileno(), upstream.fileno()
        self.relayed: Relayed | None = None
        self._downstream = downstream
        self._upstream = upstream
        tap = None if show is None else Tap(upstream, show)
        self._response = Flow(self.up, self.down, response_body, tap)
        self._request = Flow(self.down, self.up, request_body)
        # Whether the client may still say something that matters to the engine: the
        # rest of its request, or its half-close.
        self._hears = True

    def wanted(self) -> tuple[int, int]:
        """Say what to wait for on the client's and on the engine's socket.

        Hanging up is waited for on the client's in any case, on the engine's
        only where this is not 0.
        """
        down = EPOLLOUT if self._response.pending else 0
        up = 0 if self._response.pending else EPOLLIN
        if self._request.pending:
            up |= EPOLLOUT
        elif self._hears:
            # Without EPOLLIN for what is beyond the request: it is never read, and
            # would wake us for ever.
            down |= EPOLLRDHUP | (EPOLLIN if self._request.left else 0)
        return down, up

    def serve_upstream(self, pipe: SharedPipe) -> bool:
        """Serve an event of the engine's socket; say whether something changed."""
        changed = False
        if self._request.pending:
            changed = self._note_request(self._request.drain())
        if not self._response.pending:
            changed = self._note_response(self._response.pump(pipe)) or changed
        return changed

    def serve_downstream(self, events: int, pipe: SharedPipe) -> bool:
        """Serve *events* of the client's socket; say whether something changed."""
        if events & (EPOLLHUP | EPOLLERR):
            self._end("client")
            return True
        changed = False
        if events & EPOLLOUT and self._response.pending:
            changed = self._note_response(self._response.drain())
        if events & (EPOLLIN | EPOLLRDHUP) and self._hears and not self._request.pending:
            changed = self._note_request(self._request.pump(pipe)) or changed
        return changed

    # These two are for other threads: they read numbers, and the kernel does the rest.

    @property
    def stuck_at(self) -> int | None:
        """How much the client has taken, where it does not take more now."""
        return self._response.moved if self._response.pending else None

    def hang_up(self) -> None:
        """Have the client be gone."""
        with suppress(OSError):  # it is
            self._downstream.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Forget what is pending; the lane is over."""
        self._response.drop()
        self._request.drop()

    def _note_response(self, change: Change | None) -> bool:
        match change:
            case None:
                return False
            case Change.ENDED | Change.COMPLETE:
                self._end("upstream")
            case Change.DRAINED if not self._response.left:
                self._end("upstream")
            case Change.SOURCE_BROKE:
                self._end("upstream", cut=True)
            case Change.SINK_BROKE:
                self._end("client")
        return True

    def _note_request(self, change: Change | None) -> bool:
        match change:
            case None:
                return False
            case Change.ENDED:
                self._hears = False
                self._shut(socket.SHUT_WR)
            case Change.SOURCE_BROKE:
                self._end("client")
            case Change.SINK_BROKE:
                # The engine does not want the rest of the request; what it has to say
                # about it (413, perhaps) is still to come.
                self._hears = False
        return True

    def _end(self, ended: Literal["upstream", "client"], *, cut: bool = False) -> None:
        if ended == "client":
            self._shut(socket.SHUT_RDWR)
        if self.relayed is None:
            self.relayed = Relayed(self._response.moved, self._request.moved, ended, cut)

    def _shut(self, how: int) -> None:
        with suppress(OSError):  # the engine was faster
            self._upstream.shutdown(how)

"""Relay between clients and the engine: all of a process on one thread, in one epoll.

Theory of operation.  `Relay.run` hands a client's and an engine's socket to the
thread and waits until the thread hands them back.  There they are a `Lane`,
whose two flows move the bytes by `splice`.  The epoll is level-triggered, so a
turn may leave bytes behind, and nothing is armed anew for each of them.

A thread of its own, because trio arms a descriptor anew for each wait and runs
a task for each wakeup, which costs more than the relaying itself
(docs/performance.md has both, measured).  The thread touches nothing of trio's
but the token: commands go in through a queue and an eventfd, endings come out
by `run_sync_soon`.  It blocks nowhere but in `epoll.poll`.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

import trio

from spark_activator.activator.flow import SharedPipe
from spark_activator.activator.lane import UNLIMITED, Lane, Relayed

__all__ = ["Relay", "RelayError", "Relayed"]

# Bounds the list that one poll makes; level-triggered events left out come next.
EVENTS_AT_ONCE = 64
# How long a cancelled relay waits for the thread to let go of its sockets.  The
# thread needs microseconds; after seconds it is broken, and so are we.
DETACH_LIMIT = 5.0


class RelayError(RuntimeError):
    """The thread died or hangs: a bug, and nothing can be relayed any more."""


class _Watched:
    """A lane and what the epoll waits for; the thread's until *done* is set."""

    __slots__ = ("armed_up", "done", "error", "lane")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.armed_up = 0  # 0: the engine's socket is not in the epoll
        self.done = trio.Event()
        self.error: OSError | None = None


_Command = Callable[[], None]


class Relay:
    """All relays of one process.  An async context manager, to be used once."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wakeup, select.EPOLLIN)
        self._pipe = SharedPipe()
        self._commands: deque[_Command | None] = deque()
        self._watched: dict[int, _Watched] = {}  # by both descriptors; the thread's
        self._running: set[_Watched] = set()  # who waits for the thread; trio's
        self._failure: BaseException | None = None
        self._stopped = trio.Event()

    async def __aenter__(self) -> Self:
        self._token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._work, name="relay", daemon=True).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tell(None)
        with trio.move_on_after(DETACH_LIMIT, shield=True):
            await self._stopped.wait()
        if not self._stopped.is_set():
            raise RelayError("the relay thread does not end")
        self._pipe.close()
        self._epoll.close()
        os.close(self._wakeup)
        self._check()

    async def run(
        self,
        downstream: socket.socket,
        upstream: socket.socket,
        *,
        request_body: int,
        response_body: int = UNLIMITED,
        show: Callable[[bytes | memoryview], None] | None = None,
    ) -> Relayed:
        """Relay until the engine's end of file, or *response_body* bytes of it.

        The client may send *request_body* more bytes; what it sends beyond is
        never read.  Its half-close is passed on, and nothing is read from it
        afterwards.  When it leaves altogether, *upstream* is shut down at once.
        The response is shown to *show*, on the thread; None costs nothing.

        Both sockets must be non-blocking and stay the caller's, who may close
        them as soon as this has returned or raised, and not before.

        Raises:
            OSError: The sockets cannot be watched.
            RelayError: Not this relay failed, but all of them.
        """
        self._check()
        watched = _Watched(Lane(downstream, upstream, request_body, response_body, show))
        if -1 in (watched.lane.down, watched.lane.up):
            # Closed already.  On the thread this would be everybody's problem.
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._running.add(watched)
        self._tell(partial(self._attach, watched))
        try:
            await watched.done.wait()
        finally:
            if not watched.done.is_set():
                self._tell(partial(self._detach, watched))
                with trio.move_on_after(DETACH_LIMIT, shield=True):
                    await watched.done.wait()
            self._running.discard(watched)
            if not watched.done.is_set():
                raise RelayError("the relay thread does not let go of a connection")
        self._check()
        if watched.error is not None:
            raise watched.error
        assert watched.lane.relayed is not None
        return watched.lane.relayed

    def lanes(self) -> list[Lane]:
        """All that are being relayed."""
        return [watched.lane for watched in self._running]

    async def prove(self) -> None:
        """Return when the thread has answered; one that hangs never does.

        Raises:
            RelayError: It is dead.
        """
        self._check()
        answered = trio.Event()
        self._tell(lambda: self._token.run_sync_soon(answered.set))
        await answered.wait()

    def _check(self) -> None:
        if self._failure is not None:
            raise RelayError("the relay thread died") from self._failure

    def _tell(self, command: _Command | None) -> None:
        self._commands.append(command)
        os.eventfd_write(self._wakeup, 1)

    def _bury(self, failure: BaseException | None) -> None:
        """Run by trio when the thread has ended: nobody may wait for it any more."""
        self._failure = failure
        self._stopped.set()
        for watched in self._running:
            watched.done.set()

    # From here on everything runs on the thread.

    def _work(self) -> None:
        failure: BaseException | None = None
        try:
            while self._turn():
                pass
        except BaseException as error:  # noqa: BLE001  # trio raises it, see _check
            failure = error
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._bury, failure)

    def _turn(self) -> bool:
        """Serve one batch of events; say whether to go on."""
        told = False
        for descriptor, events in self._epoll.poll(-1, EVENTS_AT_ONCE):
            watched = self._watched.get(descriptor)
            if watched is None:
                # The eventfd, or of a lane that ended earlier in this batch.
                told = told or descriptor == self._wakeup
                continue
            lane = watched.lane
            if descriptor == lane.up:
                changed = lane.serve_upstream(self._pipe)
            else:
                changed = lane.serve_downstream(events, self._pipe)
            if changed:
                self._rearm(watched)
        # After the batch: a number in it may be another socket's as soon as we obey.
        return self._obey() if told else True

    def _obey(self) -> bool:
        os.eventfd_read(self._wakeup)
        while self._commands:
            command = self._commands.popleft()
            if command is None:
                return False
            command()
        return True

    def _attach(self, watched: _Watched) -> None:
        lane = watched.lane
        self._watched[lane.down] = self._watched[lane.up] = watched
        try:
            self._epoll.register(lane.down, 0)
            self._rearm(watched)
        except OSError as error:
            watched.error = error
            self._detach(watched)

    def _rearm(self, watched: _Watched) -> None:
        lane = watched.lane
        if lane.relayed is not None:
            self._detach(watched)
            return
        down, up = lane.wanted()
        self._epoll.modify(lane.down, down)
        if up and watched.armed_up:
            self._epoll.modify(lane.up, up)
        elif up:
            self._epoll.register(lane.up, up)
        elif watched.armed_up:
            self._epoll.unregister(lane.up)
        watched.armed_up = up

    def _detach(self, watched: _Watched) -> None:
        lane = watched.lane
        if self._watched.get(lane.down) is not watched:
            return  # it has ended meanwhile
        for descriptor in (lane.down, lane.up):
            del self._watched[descriptor]
            with suppress(OSError):  # not registered, which is what we want
                self._epoll.unregister(descriptor)
        lane.drop()
        with suppress(trio.RunFinishedError):  # nobody is left to be told
            self._token.run_sync_soon(watched.done.set)

"""Have the policy decide about large bodies in another process, one after the other.

The process is started for the first large body and ended when there was none
for a while.  It ends by itself when we do: its socket does.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import Final

import trio

from spark_activator.activator import memfd, policy_lines
from spark_activator.activator.bodies import Content
from spark_activator.catalog import frozen
from spark_activator.catalog.model import Model
from spark_activator.errors import Refusal
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.decision import Decision

logger = logging.getLogger(__name__)

# The largest body takes a second or two.
WORK_LIMIT: Final = 30.0
# It is 15 MiB, and a tenth of a second to start: who sends pictures sends more.
IDLE: Final = 60.0
# A process that was killed is gone in milliseconds, however much memory it had.
END_LIMIT: Final = 5.0


class _WorkerLostError(Exception):
    """The process ended before it had answered."""


class _Worker:
    """One process and our end of its socket."""

    def __init__(self, process: trio.Process, sock: socket.socket) -> None:
        self.process = process
        self._sock = sock

    async def ask(self, line: bytes, fd: int) -> tuple[bytes, int]:
        """Send *line* and the file *fd*; return the answer, and its file or -1."""
        await self.tell(line, fd)
        while True:
            try:
                answer, files, _, _ = socket.recv_fds(
                    self._sock, policy_lines.MAX_LINE, 1, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
            except OSError as error:
                raise _WorkerLostError from error
            else:
                if not answer:
                    raise _WorkerLostError
                return answer, files[0] if files else -1

    async def tell(self, line: bytes, fd: int) -> None:
        """Send *line* and the file *fd*."""
        while True:
            try:
                socket.send_fds(self._sock, [line], [fd])
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
            except OSError as error:
                raise _WorkerLostError from error
            else:
                return

    async def end(self) -> None:
        """Have it be gone."""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        self.process.kill()
        with trio.move_on_after(END_LIMIT, shield=True):
            await self.process.wait()


class PolicyProcess:
    """Decides about bodies that lie in files; `run` must be running.

    Attributes:
        model: Whose rules apply.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._worker: _Worker | None = None
        self._turn = trio.Lock()
        self._started = trio.Event()
        self._last_used = 0.0

    async def decide(self, content: Content, endpoint: Endpoint) -> Decision:
        """Decide about *content*, which becomes what the engine gets; the body is in there only.

        Raises:
            Refusal: The request is refused, or could not be decided about.
        """
        return await self._ask(content, policy_lines.ask_decide(endpoint))

    async def reclamp(self, content: Content, decision: Decision, counted: int) -> Decision:
        """Have the limit of *content* set anew, for a prompt of *counted* tokens.

        Raises:
            Refusal: That could not be done.
        """
        return await self._ask(content, policy_lines.ask_reclamp(decision, counted))

    async def run(self) -> None:
        """End the process when it has had nothing to do for a while, until cancelled."""
        try:
            while True:
                await self._started.wait()
                await trio.sleep_until(self._last_used + IDLE)
                async with self._turn:
                    if trio.current_time() >= self._last_used + IDLE:
                        await self._end()
        finally:
            await self._end()

    async def _ask(self, content: Content, line: bytes) -> Decision:
        async with self._turn:
            worker = await self._present()
            try:
                with trio.fail_after(WORK_LIMIT):
                    answer, changed = await worker.ask(line, content.fd)
            except trio.TooSlowError:
                await self._end()
                raise Refusal(
                    "body_too_large", "the request's JSON takes too long to be read"
                ) from None
            except _WorkerLostError:
                await self._end()
                raise _lost(worker) from None
            except BaseException:
                # Whose answer comes next would not be known.
                await self._end()
                raise
            finally:
                self._last_used = trio.current_time()
        if changed >= 0:
            content.become_file(changed)
        return policy_lines.answered(answer)

    async def _present(self) -> _Worker:
        if self._worker is not None and self._worker.process.poll() is not None:
            logger.warning("The policy's worker was ended, starting another one")
            await self._end()
        if self._worker is None:
            try:
                self._worker = await self._start()
            except (OSError, _WorkerLostError) as error:
                logger.error("Cannot start the policy's worker: %s", error)
                raise Refusal("overloaded", "large requests cannot be read now") from error
            self._started.set()
        return self._worker

    async def _start(self) -> _Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                ours.setblocking(False)  # noqa: FBT003  # takes it by position only
                process = await trio.lowlevel.open_process(
                    [sys.executable, "-I", "-m", "spark_activator.activator.policy_worker"],
                    stdin=theirs.fileno(),
                    # It has nothing to say to systemd.
                    env={},
                )
            except BaseException:
                ours.close()
                raise
        worker = _Worker(process, ours)
        model = memfd.create(frozen.dump(self.model).encode())
        try:
            await worker.tell(b"model", model)
        except BaseException:
            await worker.end()
            raise
        finally:
            os.close(model)
        return worker

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        self._started = trio.Event()
        if worker is not None:
            await worker.end()


def _lost(worker: _Worker) -> Refusal:
    logger.error(
        "The policy's worker ended with status %s, refusing its request", worker.process.returncode
    )
    return Refusal("internal_error", "internal error while the request was read")

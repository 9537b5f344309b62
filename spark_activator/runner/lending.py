"""Lends GPU memory to programs that are no models: one process a connection.

python -I -m spark_activator.runner.lending, with the connection as standard input

Members of the group may not write where the leases are.  So systemd starts this
for each connection; it waits on the client's behalf, hands over the lock's
descriptor, and leaves: from then on the kernel knows who has the lease.
"""

from __future__ import annotations

import array
import contextlib
import logging
import os
import socket
import sys

import trio

from spark_activator.errors import EngineFailed, SparkError
from spark_activator.layout import Layout
from spark_activator.protocol import MAX_LINE, ProtocolError
from spark_activator.runner import logs
from spark_activator.runner.borrower import Borrower
from spark_activator.runner.gpu_files import boottime, pause_path
from spark_activator.runner.lending_lines import (
    Borrow,
    Denied,
    Done,
    Granted,
    PauseGpu,
    Reply,
    Request,
    ResumeGpu,
    Waiting,
    decode_request,
    encode,
)
from spark_activator.runner.lines import LineReader, LineTooLong
from spark_activator.runner.lock import write_json
from spark_activator.runner.plan_lock import under_plan
from spark_activator.runner.refusals import shown

logger = logging.getLogger(__name__)

# Who connects says what it wants in the same breath, and reads what it is told.
HELLO_LIMIT = 5.0
SEND_LIMIT = 5.0


async def serve(layout: Layout, stream: trio.SocketStream) -> None:
    """Serve the one request of *stream*.

    Raises:
        ProtocolError: It is none.
    """
    reader = LineReader(stream, MAX_LINE)
    with trio.fail_after(HELLO_LIMIT):
        line = await reader.read()
    if line is None:
        return
    request = decode_request(line)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_client, stream, nursery.cancel_scope)
        try:
            await _answer(layout, stream, request)
        except (trio.BrokenResourceError, trio.TooSlowError, ConnectionError):
            logger.info("The client has gone")
        nursery.cancel_scope.cancel()


async def _watch_client(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """End all when the client is gone; it has nothing more to say."""
    # Gone without a word is an end like any other.
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.receive_some(1)
    scope.cancel()


async def _answer(layout: Layout, stream: trio.SocketStream, request: Request) -> None:
    try:
        await _carry_out(layout, stream, request)
    except EngineFailed as failure:
        await _send(stream, Denied(failure.code, failure.message))


async def _carry_out(layout: Layout, stream: trio.SocketStream, request: Request) -> None:
    match request:
        case Borrow():
            await _lend(layout, stream, request)
        case PauseGpu(seconds):
            until = None if seconds is None else boottime() + seconds
            await _write_pause(layout, until)
            await _send(stream, Done(until))
        case ResumeGpu():
            await _end_pause(layout)
            await _send(stream, Done())


async def _lend(layout: Layout, stream: trio.SocketStream, request: Borrow) -> None:
    async def say(words: str) -> None:
        await _send(stream, Waiting(words))

    ledger = await Borrower(layout, request, say).wait()
    lease = ledger.lease
    logger.info("'%s' has a lease on %d bytes", shown(lease.model), request.memory)
    line = encode(Granted(shown(lease.model), lease.until))
    fd = ledger.lease_lock.give_away()
    try:
        # A client that has gone does not take it, and the kernel frees it.
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
        await stream.socket.sendmsg([line], [rights])
    finally:
        os.close(fd)


async def _write_pause(layout: Layout, until: float | None) -> None:
    path = pause_path(layout.gpu)
    await under_plan(layout.gpu, lambda: write_json(path, {"until": until}))
    logger.info("the GPU is paused")


async def _end_pause(layout: Layout) -> None:
    path = pause_path(layout.gpu)
    await under_plan(layout.gpu, lambda: path.unlink(missing_ok=True))
    logger.info("the GPU is not paused any more")


async def _send(stream: trio.SocketStream, line: Reply) -> None:
    with trio.fail_after(SEND_LIMIT):
        await stream.send_all(encode(line))


async def _main(layout: Layout, connection: socket.socket) -> int:
    connection.setblocking(False)  # noqa: FBT003  # takes it by position only
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
    try:
        async with stream:
            await serve(layout, stream)
    except (ProtocolError, LineTooLong) as error:
        logger.warning("Closed a connection after a bad line: %s", error)
        return 1
    except (trio.BrokenResourceError, trio.TooSlowError):
        logger.warning("Closed a connection that did not say what it wants")
    return 0


def main() -> int:
    """Serve the connection that is our standard input and return the exit status."""
    logs.configure()
    try:
        connection = socket.socket(fileno=os.dup(0))
        connection.getpeername()
    except OSError:
        logger.error("usage: python -m spark_activator.runner.lending, on a unix connection")
        return 2
    try:
        return trio.run(_main, Layout.from_environment(os.environ), connection)
    except SparkError as error:
        logger.error("%s", error.message)
        return 1


if __name__ == "__main__":
    sys.exit(main())

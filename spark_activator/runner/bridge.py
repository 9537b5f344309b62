"""Starts a server that has TCP only, and puts it on a unix socket.

usage: python3 -I bridge.py SOCKET PORT COMMAND [ARGUMENT ...]

Mounted into containers and run there by whatever Python the image has, 3.8 or
later: nothing but the standard library, and nothing of this package.  It ends as
the server ends, with its status, and hands SIGTERM on.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  # the image has no trio
import signal
import sys

HOST = "127.0.0.1"
PIECE = 1 << 16
# More than an engine runs at once; those who find it full would be refused.
BACKLOG = 1024
# Nothing says when another process listens; an attempt that is refused costs 0.1 ms.
TRY_AGAIN = 0.1
# What a server has sent before its end is on its way to clients that read.
LAST_WORDS = 2.0
CANNOT_START = 127


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what comes as it comes, at the pace of who takes it, and its end."""
    while True:
        data = await reader.read(PIECE)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Serve one client; whoever breaks off does so to the other as well."""
    writers = [writer]
    try:
        back, forth = await asyncio.open_connection(HOST, port)
        writers.append(forth)
        await asyncio.gather(pump(reader, forth), pump(back, writer))
        for each in writers:
            each.close()
    except OSError:
        # One of them is gone: that is all there is to say, and both hear it.
        pass
    finally:
        for each in writers:
            if not each.transport.is_closing():
                each.transport.abort()


async def listens(port: int) -> None:
    """Return when somebody listens on *port*."""
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(TRY_AGAIN)
        else:
            writer.close()
            return


async def serve(path: str, port: int, relays: set[asyncio.Task[None]]) -> None:
    """Make the socket once the server listens, and relay until cancelled."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(relay(reader, writer, port))
        relays.add(task)
        task.add_done_callback(relays.discard)
        await task

    await listens(port)
    server = await asyncio.start_unix_server(accept, path, backlog=BACKLOG)
    await server.serve_forever()


async def run(path: str, port: int, command: list[str]) -> int:
    """Run *command* until it ends and return the status for who waits for us."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    try:
        child = await asyncio.create_subprocess_exec(*command)
    except OSError as error:
        _say(f"cannot start {command[0]}: {error.strerror}")
        return CANNOT_START

    async def hand_on() -> None:
        await asked.wait()
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)

    relays: set[asyncio.Task[None]] = set()
    ends = asyncio.ensure_future(child.wait())
    serving = asyncio.ensure_future(serve(path, port, relays))
    handing = asyncio.ensure_future(hand_on())
    await asyncio.wait({ends, serving}, return_when=asyncio.FIRST_COMPLETED)
    if not ends.done():
        # Without a socket the server is of no use to anybody.
        child.kill()
        _say(f"cannot serve on {path}: {serving.exception()}")
    status = await ends
    if relays:
        await asyncio.wait(set(relays), timeout=LAST_WORDS)
    for task in (serving, handing):
        task.cancel()
    return 128 - status if status < 0 else status


def _say(what: str) -> None:
    print(f"bridge: {what}", file=sys.stderr)  # noqa: T201  # the container's log


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))

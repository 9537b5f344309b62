"""Listeners, connections and the way out: what uvicorn is to vLLM."""

from __future__ import annotations

import math
import socket
from functools import partial

import h11
import trio

from spark_activator.demo import shapes
from spark_activator.demo.connection import BodyTooLarge, ClientGone, Connection, Request
from spark_activator.demo.engine import Engine
from spark_activator.demo.log import say
from spark_activator.demo.settings import Settings

# uvicorn's own default.
BACKLOG = 2048


def open_listeners(settings: Settings) -> list[trio.SocketListener]:
    """Make what we are told to listen on.

    The unix socket gets the mode that our umask leaves it, is never unlinked,
    and one that lies there already is not replaced: so does vLLM.

    Raises:
        OSError: The address is in use, or cannot be used.
    """
    listeners = []
    if settings.socket is not None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(settings.socket)
        listeners.append(_listener(sock))
    if settings.port is not None:
        sock = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((settings.host, settings.port))
        listeners.append(_listener(sock))
    return listeners


def _listener(sock: socket.socket) -> trio.SocketListener:
    sock.listen(BACKLOG)
    sock.setblocking(False)  # noqa: FBT003  # takes it by position only
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


class Server:
    """Serves an engine on its listeners until told to stop.

    Args:
        settings: The command line.
        engine: What answers.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._clients: set[Connection] = set()
        # Those that wait for a request: a drain ends them at once.
        self._idle: set[trio.CancelScope] = set()

    async def serve(self, listeners: list[trio.SocketListener], stop: trio.Event) -> None:
        """Serve until *stop*, then refuse who comes, and let who runs finish in time."""
        async with trio.open_nursery() as connections:
            self._engine.background = connections
            async with trio.open_nursery() as accepting:
                await accepting.start(
                    partial(
                        trio.serve_listeners,
                        self._serve_client,
                        listeners,
                        handler_nursery=connections,
                    )
                )
                say("INFO:     Application startup complete.")
                for listener in listeners:
                    say(f"INFO:     Uvicorn running on {_address(listener)}")
                await stop.wait()
                accepting.cancel_scope.cancel()
            say("INFO:     Shutting down")
            for client in self._clients:
                client.closing = True
            for scope in self._idle:
                scope.cancel()
            connections.cancel_scope.deadline = (
                trio.current_time() + self._settings.shutdown_timeout
            )
        say("INFO:     Application shutdown complete.")

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        client = Connection(stream)
        self._clients.add(client)
        async with stream:
            try:
                # As in uvicorn, only a connection that is kept has a limit.
                limit = math.inf
                while await self._serve_request(client, limit):
                    limit = self._settings.keep_alive_timeout
            except ClientGone:
                pass
            except BodyTooLarge:
                await self._refuse(client, 413, "the body is too large")
            except h11.RemoteProtocolError as error:
                await self._refuse(client, error.error_status_hint, str(error))
            finally:
                self._clients.discard(client)

    async def _serve_request(self, client: Connection, limit: float) -> bool:
        """Serve one request that begins within *limit*; return whether one may follow."""
        head = None
        with trio.move_on_after(limit) as idle:
            self._idle.add(idle)
            try:
                head = await client.read_head()
            finally:
                self._idle.discard(idle)
        if head is None:
            return False
        request = await client.read_request(head)
        if request.headers.get("upgrade", "").lower() == "websocket":
            await self._engine.converse(client, request)
            self._log(client, request)
            return False
        whole = await client.run_while_connected(partial(self._engine.respond, client, request))
        self._log(client, request)
        return whole and client.next_cycle()

    async def _refuse(self, client: Connection, status: int, message: str) -> None:
        if client.answered:
            return
        client.closing = True
        try:
            await client.answer(status, shapes.error(status, message))
        except ClientGone:
            return
        await client.linger()

    def _log(self, client: Connection, request: Request) -> None:
        if self._settings.access_log:
            # A client can put anything but a line's end into its path.
            say(f'INFO:     - "{request.method} {request.path} HTTP/1.1" {client.status}')


def _address(listener: trio.SocketListener) -> str:
    name = listener.socket.getsockname()
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"http://{host}:{name[1]} (Press CTRL+C to quit)"
    return f"unix socket {name} (Press CTRL+C to quit)"

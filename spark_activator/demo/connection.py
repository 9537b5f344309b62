"""One client's connection: HTTP/1.1 as uvicorn speaks it.

Requests come one after the other while the connection is kept alive.  A body
of unknown length is sent chunked, one chunk for each event, and its end is a
chunk of its own: whoever reads a stream that was cut short can tell.  A client
that closes its side has left, and what it asked for is cancelled.
"""

from __future__ import annotations

import http.client
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate

import h11
import trio

# uvicorn's own read size.
READ_SIZE = 65536
# The largest body that nginx lets through to us.
MAX_BODY = 64 * 2**20
# How long a client that we refuse may go on sending before its answer is lost.
LINGER = 2.0


class ClientGone(Exception):
    """The client has left; nobody reads what we would send."""


class CutShort(Exception):
    """The connection ends here, in the middle of an answer, because that was asked."""


class BodyTooLarge(Exception):
    """The request's body is over `MAX_BODY`."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read to its end."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Connection:
    """The bytes of one client.

    Args:
        stream: Where the client is; the caller closes it.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)
        # Set when no further request may come: the last answer says so.
        self.closing = False
        self.status = 0

    @property
    def answered(self) -> bool:
        """Whether an answer has begun, so that another one cannot."""
        return self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    async def read_head(self) -> h11.Request | None:
        """Return the head of the next request, or None when there is none any more.

        Raises:
            h11.RemoteProtocolError: It is not HTTP.
        """
        head = await self._next_event()
        return head if isinstance(head, h11.Request) else None

    async def read_request(self, head: h11.Request) -> Request:
        """Read what follows *head*.

        Raises:
            h11.RemoteProtocolError: It is not HTTP.
            BodyTooLarge: The body is, and was not read.
            ClientGone: It left in the middle of it.
        """
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        if int(headers.get("content-length", "0")) > MAX_BODY:
            raise BodyTooLarge
        parts: list[bytes] = []
        size = 0
        while isinstance(event := await self._next_event(), h11.Data):
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > MAX_BODY:
                raise BodyTooLarge
        path = head.target.decode("latin-1").partition("?")[0]
        return Request(head.method.decode(), path, headers, b"".join(parts))

    def next_cycle(self) -> bool:
        """Get ready for the next request; False when the connection ends here."""
        done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        if done and not self.closing:
            self._http.start_next_cycle()
            return True
        return False

    async def answer(
        self, status: int, body: bytes, content_type: str = "application/json"
    ) -> None:
        """Send a whole answer."""
        headers = [("content-length", str(len(body))), ("content-type", content_type)]
        await self._send(self._response(status, headers), h11.Data(data=body), h11.EndOfMessage())

    async def switch(self, headers: list[tuple[str, str]]) -> bytes:
        """Agree to a WebSocket; return what came behind the request already.

        From here on the connection is `receive`, `send_raw` and its end.
        """
        fields = [("upgrade", "websocket"), ("connection", "Upgrade"), *headers]
        self.status = 101
        await self._send(h11.InformationalResponse(status_code=101, headers=fields))
        early, _ = self._http.trailing_data
        return bytes(early)

    async def begin_stream(self) -> None:
        """Send the head of a stream of events."""
        kind = ("content-type", "text/event-stream; charset=utf-8")
        await self._send(self._response(200, [kind]))

    async def send_event(self, event: bytes) -> None:
        """Send one event as one chunk."""
        await self._send(h11.Data(data=event))

    async def end_stream(self) -> None:
        """Send the last chunk, which says that the stream is whole."""
        await self._send(h11.EndOfMessage())

    async def run_while_connected(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Run *work*, and cancel it when the client leaves; `CutShort` ends it too.

        Returns:
            Whether it came to its end.
        """
        stayed = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            try:
                await work()
                stayed = True
            except (ClientGone, CutShort):
                pass
            nursery.cancel_scope.cancel()
        return stayed

    async def linger(self) -> None:
        """Read away what a refused client still sends, so that it gets to see the answer."""
        with trio.move_on_after(LINGER):
            try:
                await self._stream.send_eof()
                while await self._stream.receive_some(READ_SIZE):
                    pass
            except trio.BrokenResourceError:
                pass

    async def _watch(self, scope: trio.CancelScope) -> None:
        data = await self.receive()
        if data:
            # The next request, early: it waits in h11, and we read no more of it
            # until its turn.  Like uvicorn we then no longer see the client leave.
            self._http.receive_data(data)
        else:
            scope.cancel()

    async def _next_event(self) -> h11.Request | h11.Data | h11.EndOfMessage | None:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                data = await self.receive()
                if not data and self._http.their_state is h11.SEND_BODY:
                    raise ClientGone
                self._http.receive_data(data)
            elif isinstance(event, (h11.Request, h11.Data, h11.EndOfMessage)):
                return event
            else:  # the connection was closed, or is not ours any more
                return None

    async def receive(self) -> bytes:
        """Read some bytes as they come, none at the end."""
        try:
            return bytes(await self._stream.receive_some(READ_SIZE))
        except trio.BrokenResourceError:
            return b""

    def _response(self, status: int, headers: list[tuple[str, str]]) -> h11.Response:
        self.status = status
        fields = [("date", formatdate(usegmt=True)), ("server", "spark-demo"), *headers]
        if self.closing:
            fields.append(("connection", "close"))
        reason = http.client.responses.get(status, "").encode()
        return h11.Response(status_code=status, headers=fields, reason=reason)

    async def _send(self, *events: h11.Event) -> None:
        await self.send_raw(b"".join(self._http.send(event) or b"" for event in events))

    async def send_raw(self, data: bytes) -> None:
        """Send *data* as it is.

        Raises:
            ClientGone: Nobody reads it.
        """
        try:
            if data:
                await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise ClientGone from error

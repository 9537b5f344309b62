"""One WebSocket's conversation with the engine: the handshake, then bytes both ways.

The handshake is checked on both sides before a byte goes on: what a client sends
behind its head is a WebSocket's only if the engine has taken exactly this
handshake, and a request of its own otherwise, which nobody may get to read.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from spark_activator.activator.exchange import INTERIM_LIMIT
from spark_activator.activator.lane import UNLIMITED
from spark_activator.activator.presence import Presence
from spark_activator.activator.relay import Relay
from spark_activator.activator.request import Request
from spark_activator.activator.wire import ClientGone, Cut, UpstreamGone, Wire
from spark_activator.errors import Refusal
from spark_activator.http import response, websocket


class Upgrade:
    """A handshake that `websocket.check` has passed, over two connections that others own.

    Attributes:
        status: The answer's status, 0 while there is none.
    """

    def __init__(self, client: Wire, upstream: Wire, request: Request, request_id: str) -> None:
        self._client = client
        self._upstream = upstream
        # What was read behind the head is the engine's once it has agreed.
        self._head, _, self._arrived = request.outgoing()
        self._request_id = request_id
        self.status = 0

    async def run(self, presence: Presence, relay: Relay) -> None:
        """Have the engine answer, and relay until one of both closes.

        Raises:
            ClientGone: The client left first.
            Cut: The engine broke off, and so did we.
            Refusal: The answer was none, and nothing was answered.
        """
        gone = False
        with trio.CancelScope() as scope:

            def leave() -> None:
                nonlocal gone
                gone = True
                scope.cancel()

            with presence.watch(self._client.sock, on_half_close=leave, on_gone=leave):
                await self._upstream_send(websocket.for_upstream(self._head))
                up, down = await self._answer()
        if gone:
            raise ClientGone
        if not down:
            return
        relayed = await relay.run(
            self._client.sock, self._upstream.sock, request_body=up, response_body=down
        )
        if relayed.cut:
            self._client.break_off()
            raise Cut
        if relayed.ended == "client":
            raise ClientGone

    async def _answer(self) -> tuple[int, int]:
        """Pass the answer's head on; return how much may follow it, up and down."""
        head, rest = await self._response_head()
        self.status = head.status
        if head.status != 101:
            left = UNLIMITED if head.length is None else head.length
            await self._client.send_all(head.for_downstream(self._request_id) + rest[:left])
            return 0, left - len(rest[:left])
        await self._client.send_all(head.for_downstream(self._request_id) + rest)
        await self._upstream_send(self._arrived)
        return UNLIMITED, UNLIMITED

    async def _response_head(self) -> tuple[response.ResponseHead, bytes]:
        received = bytearray()
        for _ in range(INTERIM_LIMIT + 1):
            while (end := response.find_end(received)) is None:
                data = b""
                with suppress(UpstreamGone):
                    data = await self._upstream.receive()
                if not data:
                    raise Refusal("bad_gateway", "the engine ended before it had answered")
                received += data
            head = response.parse(bytes(received[:end]), upgrade=True)
            del received[:end]
            if head.interim:
                continue  # about a request that has no body there is nothing to hint at
            if head.status == 101 and not websocket.accepts(self._head, 101, head.fields):
                raise Refusal("bad_gateway", "the engine's answer takes another handshake")
            return head, bytes(received)
        raise Refusal("bad_gateway", f"the engine sent over {INTERIM_LIMIT} interim answers")

    async def _upstream_send(self, data: bytes) -> None:
        with suppress(UpstreamGone):  # its answer, if it gave one, says why
            await self._upstream.send_all(data)

"""One request's conversation with the engine: forward, read the answer's head, relay.

Most requests arrive whole: one send, one wait, and the relay has the rest.  A
body that is still arriving is forwarded while the answer is waited for, a piece
at a time, so that a large one is never held.  The engine may answer before the
body has ended (a refusal); then its answer is copied here until it has, because
the relay knows nothing of chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import trio

from spark_activator.activator.bodies import FileBody
from spark_activator.activator.continued import Whole, continue_anew, fits
from spark_activator.activator.hold import Hold
from spark_activator.activator.lane import UNLIMITED
from spark_activator.activator.opened import Opened
from spark_activator.activator.presence import Presence
from spark_activator.activator.relay import Relay
from spark_activator.activator.request import Request
from spark_activator.activator.unchunked import send_unchunked
from spark_activator.activator.wire import PIECE, ClientGone, Cut, UpstreamGone, Wire
from spark_activator.errors import Refusal
from spark_activator.http import response
from spark_activator.http.answers import CONTINUE, with_fields
from spark_activator.http.endpoints import endpoint
from spark_activator.http.policy.replay import replay
from spark_activator.http.rate import Pace
from spark_activator.http.unframed import BrokenBody

# Engines send none, or one; one that sends them without end would never answer.
INTERIM_LIMIT: Final = 16


class Exchange:
    """One request and its answer, over two connections that others own.

    Args:
        client: Who gets the answer.
        upstream: Who gives it.
        request: As the engine gets it.
        request_id: As the client gets it.
        fields: Of the answer, beside the engine's.
        show: Who sees the answer's body.
        hold: Knows the stream in which the answer is to follow, where there is one.

    Attributes:
        status: The answer's status, 0 while there is none.
    """

    def __init__(
        self,
        client: Wire,
        upstream: Wire,
        request: Request,
        request_id: str,
        fields: Mapping[str, str],
        show: Callable[[bytes | memoryview], None] | None,
        hold: Hold,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._head, self._body, self._arrived = request.outgoing()
        self._changed = request.changed
        self._request_id = request_id
        self._fields = fields
        self._show = show
        self._hold = hold
        self._decision = request.decision
        self._refusal: Refusal | None = None
        self._body_over = False  # complete, or the engine wants no more of it
        self._client_gone = False
        self._half_closed = False
        self._left = UNLIMITED  # of the response's body
        self._received = bytearray()  # of the answer, up to the end of its head
        self.status = 0

    async def run(self, presence: Presence, relay: Relay) -> None:
        """Forward the request.

        Raises:
            ClientGone: Nobody is there to be answered.
            Cut: The engine broke its answer off, and so did we.
            Refusal: The request or the answer was not HTTP, and nothing was answered.
        """
        rest = self._begin()
        with trio.CancelScope() as scope:

            def leave() -> None:
                self._client_gone = True
                scope.cancel()

            with presence.watch(
                self._client.sock, on_half_close=self._pass_half_close, on_gone=leave
            ):
                going_on = await self._until_head(rest)
        if self._client_gone:
            raise ClientGone
        if going_on:
            relayed = await relay.run(
                self._client.sock,
                self._upstream.sock,
                request_body=0,
                response_body=self._left,
                show=self._show,
            )
            # An engine that closes with some of the body unread had all it wanted.
            if relayed.cut and self._body.complete:
                self._cut()
            if relayed.ended == "client":
                raise ClientGone

    def _begin(self) -> bytes:
        """Send what can be sent at once, mostly all: the engine works while we go on.

        Returns:
            What is left of the head, and of the body that is here.
        """
        first = self._head.for_upstream() + self._body.feed(self._arrived)
        try:
            return first[self._upstream.send_some(first) :]
        except UpstreamGone:
            self._body_over = True  # it may have answered all the same
            return b""

    async def _until_head(self, rest: bytes) -> bool:
        """Send *rest* of the request; return whether more comes behind the answer's head."""
        try:
            await self._upstream.send_all(rest)
        except UpstreamGone:
            self._body_over = True  # as in `_begin`
        self._body_over |= self._body.complete
        if self._body_over:
            return await self._answer()
        if self._head.wants_continue and not self._arrived and self._hold.opened is None:
            await self._client.send_all(CONTINUE)
        going_on = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forward_body, nursery.cancel_scope)
            going_on = await self._guarded_answer()
            nursery.cancel_scope.cancel()
        if self._refusal is not None:
            if self.status:
                self._cut()
            raise self._refusal
        return going_on

    async def _guarded_answer(self) -> bool:
        # Beside another task: what is raised would come out in a group.
        try:
            return await self._answer()
        except Refusal as refusal:
            self._refusal = refusal
        except ClientGone:
            self._client_gone = True
        return False

    async def _forward_body(self, both: trio.CancelScope) -> None:
        try:
            await self._pump()
        except UpstreamGone:
            pass  # its answer, if it gave one, says why
        except ClientGone:
            self._client_gone = True
            both.cancel()
        except Refusal as refusal:
            self._refusal = refusal
            both.cancel()
        except trio.TooSlowError:
            self._refusal = Refusal("request_timeout", "the request's body arrives too slowly")
            both.cancel()
        self._body_over = True

    async def _pump(self) -> None:
        pace = Pace()
        while not self._body.complete:
            if isinstance(self._body, FileBody):
                await self._body.send(self._upstream)
                continue
            began = trio.current_time()
            with trio.fail_after(pace.patience):
                data = await self._client.receive(self._body.wanted)
            pace.received(len(data), trio.current_time() - began)
            if not data:
                # Without its end the request means nothing.
                raise ClientGone
            await self._upstream.send_all(self._body.feed(data))
            # Both may be ready all the time; the others want their turn.
            await trio.lowlevel.checkpoint()
        if self._half_closed:
            self._upstream.finish()

    async def _answer(self) -> bool:
        """Send the answer's head, and more as long as the body lasts; return whether it goes on."""
        head, rest = await self._hold.until(self._response_head)
        opened = self._hold.opened
        if head.status == 200 and self._decision is not None and self._decision.replay:
            await self._tell_again(head, rest, usage=self._decision.usage)
            return False
        self.status = head.status
        if head.length is not None:
            # What an engine sends beyond is nobody's answer.
            rest = rest[: head.length]
            self._left = head.length - len(rest)
        if opened is not None and not fits(opened, head):
            await self._continue(opened, head, rest)
            return False
        if opened is None and head.chunked and not self._head.minor:
            await self._unchunk(head, rest)
            return False
        if self._show is not None:
            self._show(rest)
        if opened is not None:
            await opened.go_on(rest)
        else:
            told = head.for_downstream(self._request_id, self._changed)
            await self._client.send_all(with_fields(told, self._fields) + rest)
        return await self._copy()

    async def _copy(self) -> bool:
        """Copy the answer while the request's body lasts; return whether it goes on."""
        while self._left and not self._body_over:
            try:
                data = await self._upstream.receive(min(self._left, PIECE))
            except UpstreamGone:
                return False  # see `run`: the body is not complete
            if not data:
                return False
            self._left -= len(data)
            if self._show is not None:
                self._show(data)
            await self._client.send_all(data)
            await trio.lowlevel.checkpoint()
        return self._left > 0

    async def _continue(self, opened: Opened, head: response.ResponseHead, rest: bytes) -> None:
        try:
            await continue_anew(opened, self._upstream, head, rest, self._show)
        except BrokenBody:
            self._cut()

    async def _tell_again(self, head: response.ResponseHead, rest: bytes, *, usage: bool) -> None:
        """Take the whole answer in, and tell it as the stream that the client asked for."""
        answer = await self._hold.until(Whole(self._upstream, head, rest).read)
        if self._show is not None:
            self._show(answer)
        events = replay(answer, endpoint(self._head.path), usage=usage)
        self.status = head.status
        await self._hold.give(b"".join(events))

    async def _unchunk(self, head: response.ResponseHead, rest: bytes) -> None:
        told = head.for_downstream(self._request_id, self._changed, chunks=False)
        await self._client.send_all(with_fields(told, self._fields))
        try:
            await send_unchunked(self._client, self._upstream, rest, self._show)
        except BrokenBody as error:
            if self._body_over:
                self._cut()
            raise Refusal("bad_gateway", "the engine broke off") from error  # see `_until_head`

    async def _response_head(self) -> tuple[response.ResponseHead, bytes]:
        received = self._received
        for _ in range(INTERIM_LIMIT + 1):
            while (end := response.find_end(received)) is None:
                try:
                    data = await self._upstream.receive()
                except UpstreamGone:
                    data = b""
                if not data:
                    raise Refusal("bad_gateway", "the engine ended before it had answered")
                received += data
            head = response.parse(bytes(received[:end]))
            del received[:end]
            if not head.interim:
                return head, bytes(received)
            # HTTP/1.0 has no interim answers, and an answer that has begun neither.
            if self._head.minor == 1 and self._hold.opened is None:
                await self._client.send_all(head.for_downstream(self._request_id))
        raise Refusal("bad_gateway", f"the engine sent over {INTERIM_LIMIT} interim answers")

    def _cut(self) -> NoReturn:
        self._client.break_off()
        raise Cut

    def _pass_half_close(self) -> None:
        # A client that closes looks like one that only says that it is done: the
        # engine decides what it means.  vLLM stops.
        self._half_closed = True
        if self._body.complete:
            self._upstream.finish()

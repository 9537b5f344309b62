"""One connection: one request, read strictly, answered by us or by the engine.

What a client sends after its first request is never interpreted.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import trio

from spark_activator.activator.desk import Desk
from spark_activator.activator.endings import Ended, Outcome
from spark_activator.activator.exchange import Exchange
from spark_activator.activator.hold import Hold
from spark_activator.activator.opened import Opened
from spark_activator.activator.reach import EngineUnreachable
from spark_activator.activator.relay import RelayError
from spark_activator.activator.request import Request
from spark_activator.activator.upgrade import Upgrade
from spark_activator.activator.wire import ClientGone, Cut, Gone, Wire
from spark_activator.errors import Refusal
from spark_activator.http import head as heads
from spark_activator.http.answers import empty_answer, refusal_answer, with_fields
from spark_activator.http.body import Body, body_of
from spark_activator.http.caller import Caller
from spark_activator.http.endpoints import STREAMED, endpoint
from spark_activator.http.paths import FOR_ADMINS, REALTIME, Route, route
from spark_activator.http.policy.decision import Decision
from spark_activator.http.signs import Voice, refused, voice_of
from spark_activator.http.tokens import Meter

logger = logging.getLogger(__name__)

# A head is one packet; a client that needs longer than this for it is no client.
HEAD_LIMIT: Final = 15.0
# Paths have up to 16 KiB, and strangers choose them.
LOGGED_PATH: Final = 200
# The runner sees its engine die within milliseconds, and says so.
DEATH_NOTICE_LIMIT: Final = 5.0
# For a client to read an answer that it was sent before its request had ended.
LINGER_LIMIT: Final = 2.0


class Connection:
    """A client, from accept to close."""

    def __init__(
        self,
        client: Wire,
        desk: Desk,
        peer: str,
        spoke: Callable[[Wire], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._desk = desk
        self._peer = peer
        self._spoke = spoke
        self._id = os.urandom(8).hex()
        self._head: heads.Head | None = None
        self._body: Body | None = None
        self._decision: Decision | None = None  # of a body that is JSON
        self._hold: Hold | None = None  # of a request that needs the engine
        self._exchange: Exchange | Upgrade | None = None
        self._fields: Mapping[str, str] = {}  # of every answer: what a browser is told
        self._caller = Caller()
        self._ended: Ended | None = None  # like the hold

    async def serve(self) -> None:
        """Read the request, have it answered, close."""
        with self._client:
            try:
                await self._answer()
            except Cut:
                self._end(Outcome.CUT)
            except Gone:
                self._end(Outcome.LEFT)
            except RelayError:
                self._client.break_off()
                self._end(Outcome.CUT)
                raise  # nobody can be served any more: systemd starts another one
            except Exception:  # one request's bug must not end the streams of all others
                logger.exception("Request %s met a bug", self._id)
                await self._own_up()
            finally:
                if self._ended is not None:
                    self._desk.counts.ended += 1
                    logger.info("%s", self._ended.line())

    async def _answer(self) -> None:
        try:
            await self._serve()
        except Refusal as refusal:
            await self._refuse(refusal)
        except BaseException:
            if trio.current_effective_deadline() == -math.inf:
                self._cut_short()  # the drain has taken too long
            raise
        await self._part()

    def _end(self, outcome: Outcome, code: str | int = "") -> None:
        if self._ended is not None:
            self._ended.tell(outcome, code)

    async def _serve(self) -> None:
        arrived = await self._read_head()
        head = self._head
        if head is None:
            return
        self._fields = self._desk.gate.cors(head)
        granted = self._desk.gate.preflight(head)
        if granted is not None:
            await self._client.send_all(empty_answer(self._id, granted))
            return
        self._caller = self._desk.gate.admit(head, self._peer)
        if self._desk.broken is not None:
            raise self._desk.broken
        answerer = route(head)
        if answerer in FOR_ADMINS and not self._caller.admin:
            raise Refusal("admin_required", f"'{head.path}' is for admin keys")
        if answerer is Route.ENGINE:
            self._body = body_of(head, arrived)
            self._desk.counts.requests += 1
            self._ended = Ended(self._id, f"{head.method} {head.path[:LOGGED_PATH]}")
            self._desk.check_room()
            with await self._desk.intake.take(self._client, head, self._body, arrived) as request:
                self._decision = request.decision
                self._desk.check_room()  # others may have come while it was read
                with self._desk.demand.request():
                    await self._have_answered(request)
        else:
            if answerer is Route.WARM:
                await self._warm(head)
            answer = self._desk.answer(answerer, head, self._id)
            await self._client.send_all(with_fields(answer, self._fields))

    async def _warm(self, head: heads.Head) -> None:
        """Wait for the engine as a request does that needs it."""
        self._desk.counts.requests += 1
        self._ended = Ended(self._id, f"{head.method} {head.path}")
        with self._desk.demand.request():
            await Hold(self._client, self._desk).wait()
        self._end(Outcome.ANSWERED, 200)

    async def _read_head(self) -> bytes:
        """Set the head, if one came; return what came behind it."""
        received = bytearray()
        # No more than a head may have: the rest waits in the kernel, so that a
        # thousand who are held cost no memory here.
        data = self._client.receive_now(heads.MAX_HEAD)
        if data is not None and (rest := self._add(data, received)) is not None:
            return rest  # mostly it was all there before its client was accepted
        with trio.move_on_after(HEAD_LIMIT):
            while True:
                data = await self._client.receive(heads.MAX_HEAD)
                if (rest := self._add(data, received)) is not None:
                    return rest
        if received:
            raise Refusal("request_timeout", f"the request head took over {HEAD_LIMIT:.0f} s")
        return b""

    def _add(self, data: bytes, received: bytearray) -> bytes | None:
        """Add *data* to what was *received*; once it ends the head, return what is behind it."""
        if not data:
            if received:
                raise ClientGone
            return b""
        self._spoke(self._client)
        received += data
        end = heads.find_end(received)
        if end is None:
            return None
        self._head = heads.parse(bytes(received[:end]))
        return bytes(received[end:])

    async def _have_answered(self, request: Request) -> None:
        """Hold the request until the engine is there, and forward it.

        An engine that died between `ready` and our connect is waited for once
        more: nothing of the body has gone anywhere yet.
        """
        desk, before = self._desk, None
        hold = self._hold = Hold(self._client, desk, self._voice(request.head), self._fields)
        while True:
            activation = await hold.wait()
            with desk.demand.serving(), self._served_by(activation):
                await desk.intake.recount(request, desk.engines, activation)
                self._decision = request.decision
                try:
                    upstream = await desk.engines.connect(activation)
                except EngineUnreachable as error:
                    if before is not None:
                        raise Refusal("engine_died", "the engine ended twice") from error
                    before = activation
                else:
                    with upstream:
                        await self._forward(upstream, request, hold)
                    return
            logger.warning("The engine of activation '%s' does not listen", activation)
            with trio.move_on_after(DEATH_NOTICE_LIMIT) as waiting:
                await desk.demand.wait_gone(activation)
            if waiting.cancelled_caught:
                raise Refusal("engine_died", "the engine does not listen")

    @contextmanager
    def _served_by(self, activation: str) -> Iterator[None]:
        assert self._ended is not None
        self._ended.served_by(activation)
        try:
            yield
        finally:
            self._ended.served()

    async def _forward(self, upstream: Wire, request: Request, hold: Hold) -> None:
        meter = Meter() if self._caller.key else None
        show = None if meter is None else meter.feed
        exchange: Exchange | Upgrade
        if request.head.path == REALTIME:
            exchange = Upgrade(self._client, upstream, request, self._id)
        else:
            exchange = Exchange(self._client, upstream, request, self._id, self._fields, show, hold)
        self._exchange = exchange
        try:
            await exchange.run(self._desk.presence, self._desk.relay)
        finally:
            # Also of an answer that nobody waited for.
            if meter is not None and exchange.status:
                self._desk.demand.usage.add(self._caller.key, *meter.tokens())
        self._end(Outcome.ANSWERED, exchange.status)

    @property
    def _opened(self) -> Opened | None:
        """The stream to the client, if it was opened before its answer was there."""
        return self._hold.opened if self._hold is not None else None

    def _voice(self, head: heads.Head) -> Voice | None:
        """Say how the client may be talked to while it waits; None: with a status alone."""
        at, model, decision = endpoint(head.path), self._desk.model, self._decision
        if model is None or decision is None or not decision.stream or at not in STREAMED:
            return None
        return voice_of(
            head,
            at,
            model=model.name,
            request_id=self._id,
            created=int(time.time()),
            aloud=model.requests.loading_text,
            changed=decision.changed,
        )

    async def _refuse(self, refusal: Refusal) -> None:
        self._desk.counts.refused(refusal.code)
        self._end(Outcome.REFUSED, refusal.code)
        asked = f"{self._head.method} {self._head.path[:LOGGED_PATH]}" if self._head else "request"
        logger.info("%s: refused %s: %s: %s", self._id, asked, refusal.code, refusal.message)
        if self._opened is not None:
            await self._opened.fail(refused(refusal))
            return
        head_only = self._head is not None and self._head.method == "HEAD"
        changed = self._decision.changed if self._decision is not None else ()
        answer = refusal_answer(refusal, self._id, head_only=head_only, changed=changed)
        await self._client.send_all(with_fields(answer, self._fields))

    def _cut_short(self) -> None:
        if self._exchange is not None and self._exchange.status:
            self._client.break_off()
            self._end(Outcome.CUT)
        elif self._body is not None:
            refusal = Refusal("shutting_down", "the model's activator is being stopped")
            self._end(Outcome.REFUSED, refusal.code)
            if self._opened is not None:
                self._opened.fail_now(refused(refusal))
            else:
                self._client.send_now(with_fields(refusal_answer(refusal, self._id), self._fields))

    async def _own_up(self) -> None:
        if self._exchange is not None and self._exchange.status:
            self._client.break_off()
            self._end(Outcome.CUT)
            return
        with suppress(Gone):
            await self._refuse(Refusal("internal_error", f"internal error, request {self._id}"))

    async def _part(self) -> None:
        """Close so that the client gets all of its answer."""
        if self._body is not None:
            finished = self._body.complete
        else:
            finished = self._head is not None and self._head.length == 0
        if not finished or self._client.unread():
            await self._client.linger(LINGER_LIMIT)

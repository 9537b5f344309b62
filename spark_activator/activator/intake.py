"""Take a request in: read its JSON, and have the policy decide, before anything is woken.

A request that is refused here asks nothing of the runner and is never in flight.
Bodies that are no JSON (forms, none at all) stay unread: they are passed on when
the engine is there.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import trio

from spark_activator.activator.bodies import Bodies, Content
from spark_activator.activator.counting import count
from spark_activator.activator.policy_process import PolicyProcess
from spark_activator.activator.reach import Engines
from spark_activator.activator.request import Request
from spark_activator.activator.wire import ClientGone, Wire
from spark_activator.catalog.model import Model
from spark_activator.errors import Refusal
from spark_activator.http.answers import CONTINUE
from spark_activator.http.body import Body
from spark_activator.http.endpoints import JSON_BODIES, Endpoint, endpoint
from spark_activator.http.head import Head
from spark_activator.http.policy.apply import decide, reclamp
from spark_activator.http.policy.decision import Decision
from spark_activator.http.policy.strict import refuse_encoded
from spark_activator.http.rate import Pace

logger = logging.getLogger(__name__)


class Intake:
    """What takes all requests of one process in."""

    def __init__(self, model: Model | None, bodies: Bodies | None = None) -> None:
        self._process = None if model is None else PolicyProcess(model)
        self._bodies = bodies or Bodies()

    async def run(self) -> None:
        """Look after the policy's worker, until cancelled."""
        if self._process is not None:
            await self._process.run()

    async def take(self, client: Wire, head: Head, body: Body, arrived: bytes) -> Request:
        """Read what has to be read of a request, and have the policy decide.

        Args:
            client: Who sends it.
            head: Its head.
            body: Reads its body.
            arrived: What of the body came with the head.

        Raises:
            ClientGone: The client left before its request was complete.
            Refusal: The request is not one for the engine.
        """
        asked = endpoint(head.path)
        if self._process is None or asked not in JSON_BODIES:
            return Request(head, body, arrived)
        refuse_encoded(head.fields)
        content = Content(self._bodies)
        try:
            await _read(client, head, body, arrived, content)
            decision = await self._decide(content, asked)
        except BaseException:
            content.close()
            raise
        _note(decision, content)
        return Request(head, body, b"", content=content, decision=decision)

    async def recount(self, request: Request, engines: Engines, activation: str) -> None:
        """Have the engine of *activation* count the prompt, where the estimate is near the limit.

        Raises:
            Refusal: The limit could not be set anew.
        """
        decision, content = request.decision, request.content
        if decision is None or decision.clamp is None or not decision.clamp.near:
            return
        counted = await count(request, engines, activation)
        if counted is None:
            return
        assert self._process is not None
        assert content is not None
        if content.fd >= 0:
            request.decision = await self._process.reclamp(content, decision, counted)
        else:
            after = reclamp(decision, counted, self._process.model)
            request.decision = _kept(after, content)

    async def _decide(self, content: Content, asked: Endpoint) -> Decision:
        assert self._process is not None
        if content.fd >= 0:
            return await self._process.decide(content, asked)
        return _kept(decide(content.data, asked, self._process.model), content)


def _kept(decision: Decision, content: Content) -> Decision:
    """Have *content* be what was decided, which has outgrown its memory perhaps."""
    if decision.body is not content.data:
        content.become(decision.body)
    return decision if content.fd < 0 else replace(decision, body=b"")


async def _read(client: Wire, head: Head, body: Body, arrived: bytes, content: Content) -> None:
    content.add(body.content(arrived))
    if head.wants_continue and not arrived and not body.complete:
        await client.send_all(CONTINUE)
    pace = Pace()
    try:
        while not body.complete:
            began = trio.current_time()
            with trio.fail_after(pace.patience):
                data = await client.receive(body.wanted)
            pace.received(len(data), trio.current_time() - began)
            if not data:
                raise ClientGone
            content.add(body.content(data))
            # A fast client has something all the time; the others want their turn.
            await trio.lowlevel.checkpoint()
    except trio.TooSlowError:
        raise Refusal("request_timeout", "the request's body arrived too slowly") from None


def _note(decision: Decision, content: Content) -> None:
    if decision.changed:
        logger.debug("Changed a request (%s): %d bytes", ", ".join(decision.changed), content.size)

"""What a request asks for, as far as it can be told from a small body."""

from __future__ import annotations

import json

from spark_activator.activator.wire import ClientGone, Wire
from spark_activator.catalog.model import Model
from spark_activator.http.endpoints import JSON_BODIES, endpoint
from spark_activator.http.head import Head
from spark_activator.http.policy.apply import decide
from spark_activator.http.policy.decision import Decision

SMALL = 64 * 1024


async def read_small(client: Wire, head: Head, arrived: bytes) -> bytes:
    """Return all of a small JSON body of which *arrived* came with its head."""
    if endpoint(head.path) in JSON_BODIES and head.length is not None and head.length <= SMALL:
        while len(arrived) < head.length:
            data = await client.receive(head.length - len(arrived))
            if not data:
                raise ClientGone
            arrived += data
    return arrived


def asked(head: Head, arrived: bytes, model: Model) -> Decision | None:
    """Decide about a request whose body has come whole with its head; None for all others."""
    at = endpoint(head.path)
    if at not in JSON_BODIES or not arrived or head.length != len(arrived):
        return None
    try:
        said = json.loads(arrived)
    except ValueError:
        return None
    decided = decide(arrived, at, model)
    if not isinstance(said, dict) or decided.stream:
        return decided
    replay = model.requests.stream_tools == "buffer" and bool(said.get("tools"))
    return Decision(decided.body, stream=said.get("stream") is True, replay=replay)

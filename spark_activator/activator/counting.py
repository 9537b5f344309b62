"""Ask an engine that is up how many tokens a prompt has.

The question is the request itself: vLLM's `/tokenize` takes the fields of a chat
or a completion that it knows and leaves the others alone.
"""

from __future__ import annotations

import logging
import re
from typing import Final

import trio

from spark_activator.activator.reach import Engines, EngineUnreachable
from spark_activator.activator.request import Request
from spark_activator.activator.wire import Gone, Wire
from spark_activator.errors import Refusal
from spark_activator.http import response
from spark_activator.http.endpoints import Endpoint, endpoint

logger = logging.getLogger(__name__)

# A count is only better than an estimate; nobody waits long for it.
LIMIT: Final = 5.0
# The count comes before the tokens themselves, which are not worth reading.
READ: Final = 4096

_PATHS: Final = {
    Endpoint.CHAT: "/tokenize",
    Endpoint.COMPLETIONS: "/tokenize",
    Endpoint.MESSAGES: "/v1/messages/count_tokens",
}
_COUNT = re.compile(rb'[{,]\s*"(?:count|input_tokens)"\s*:\s*([0-9]{1,9})\s*[,}]')


async def count(request: Request, engines: Engines, activation: str) -> int | None:
    """Return how many tokens the prompt of *request* has, or None where that cannot be had.

    Args:
        request: Its body is read, and not used up.
        engines: Know how to reach it.
        activation: Whose engine is asked.
    """
    path = _PATHS.get(endpoint(request.head.path))
    if path is None or request.content is None:
        return None
    counted = None
    with trio.move_on_after(LIMIT):
        try:
            with await engines.connect(activation) as engine:
                counted = await _ask(engine, path, request)
        except (EngineUnreachable, Gone, Refusal) as error:
            logger.debug("Failed to have a prompt's tokens counted, ignoring: %s", error)
    return counted


async def _ask(engine: Wire, path: str, request: Request) -> int | None:
    assert request.content is not None
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += f"content-length: {request.content.size}\r\nconnection: close\r\n\r\n"
    await engine.send_all(head.encode() + request.content.data)
    await request.content.send_file(engine)
    received = bytearray()
    while (end := response.find_end(received)) is None or len(received) < end + READ:
        data = await engine.receive()
        if not data:
            break
        received += data
    if end is None or response.parse(bytes(received[:end])).status != 200:
        return None
    found = _COUNT.search(received, end)
    return int(found[1]) if found else None

"""An engine's answer that comes when the stream to its client is open already.

Where it is framed as the stream is, its bytes follow ours as they are, and the
relay moves them: our chunks, then the engine's.  Else it is framed anew here.  What
is no stream of events is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from spark_activator.activator.opened import Opened
from spark_activator.activator.wire import PIECE, UpstreamGone, Wire
from spark_activator.http.response import ResponseHead
from spark_activator.http.signs import Failure, engine_failed
from spark_activator.http.unframed import BrokenBody, Unframed

# Errors are some hundred bytes; one with a validation of a long request in it may be more.
MOST_OF_AN_ERROR: Final = 64 * 1024


def fits(stream: Opened, head: ResponseHead) -> bool:
    """Whether the body behind *head* may follow in *stream* as it is."""
    return head.status == 200 and head.events and head.chunked == stream.chunked


async def continue_anew(
    stream: Opened,
    upstream: Wire,
    head: ResponseHead,
    rest: bytes,
    show: Callable[[bytes], None] | None,
) -> None:
    """Send the body behind *head*, of which *rest* was read with it, and end *stream*.

    *show* sees the body of an answer.

    Raises:
        BrokenBody: It is not complete, and neither is the stream.
        ClientGone: The client is.
    """
    body = Unframed(head.length, chunked=head.chunked)
    if head.status == 200 and head.events:
        data = body.feed(rest) if rest else b""
        while True:
            if show is not None:
                show(data)
            await stream.send(data)
            if body.complete:
                break
            data = body.feed(await receive(upstream))
            await trio.lowlevel.checkpoint()
        await stream.end()
    elif head.status == 200:
        await stream.fail(Failure(502, "the engine did not answer with a stream", "server_error"))
    else:
        said = await read_body(upstream, body, rest, MOST_OF_AN_ERROR)
        await stream.fail(engine_failed(head.status, said))


async def read_body(upstream: Wire, body: Unframed, rest: bytes, most: int) -> bytes:
    """Return what *upstream* sends as *body*, after *rest*: at most some *most* bytes."""
    received = bytearray()
    try:
        received += body.feed(rest) if rest else b""
        while not body.complete and len(received) < most:
            received += body.feed(await receive(upstream))
    except BrokenBody:
        pass  # what there is says more than nothing
    return bytes(received)


async def receive(upstream: Wire) -> bytes:
    """Return what *upstream* sends, `b""` at its end of file.

    Raises:
        BrokenBody: The connection broke.
    """
    try:
        return await upstream.receive(PIECE)
    except UpstreamGone as error:
        raise BrokenBody from error

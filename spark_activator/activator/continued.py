"""An engine's answer that comes when the stream to its client is open already.

Where it is framed as the stream is, its bytes follow ours as they are, and the
relay moves them: our chunks, then the engine's.  Else it is framed anew here.  What
is no stream of events is a failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from spark_activator.activator.opened import Opened
from spark_activator.activator.wire import PIECE, UpstreamGone, Wire
from spark_activator.errors import Refusal
from spark_activator.http.response import ResponseHead
from spark_activator.http.signs import Failure, engine_failed
from spark_activator.http.unframed import BrokenBody, Unframed

# Errors are some hundred bytes; one with a validation of a long request in it may be more.
MOST_OF_AN_ERROR: Final = 64 * 1024
# Of one that is told as a stream by us: 32,000 tokens are 150 KB, with logprobs 3 MB.
# More of JSON would keep all other streams waiting for too long.
MOST_OF_AN_ANSWER: Final = 4 << 20


def fits(stream: Opened, head: ResponseHead) -> bool:
    """Whether the body behind *head* may follow in *stream* as it is."""
    return head.status == 200 and head.events and head.chunked == stream.chunked


async def continue_anew(
    stream: Opened,
    upstream: Wire,
    head: ResponseHead,
    rest: bytes,
    show: Callable[[bytes | memoryview], None] | None,
) -> None:
    """Send the body behind *head*, of which *rest* was read with it, and end *stream*.

    *show* sees the body of an answer.

    Raises:
        BrokenBody: It is not complete, and neither is the stream.
        ClientGone: The client is.
    """
    body = Unframed(head.length, chunked=head.chunked)
    if head.status == 200 and head.events:
        await pass_on(body, upstream, rest, show, stream.send)
        await stream.end()
    elif head.status == 200:
        await stream.fail(Failure(502, "the engine did not answer with a stream", "server_error"))
    else:
        said = await _read_error(upstream, body, rest)
        await stream.fail(engine_failed(head.status, said))


async def pass_on(
    body: Unframed,
    upstream: Wire,
    rest: bytes,
    show: Callable[[bytes | memoryview], None] | None,
    send: Callable[[bytes], Awaitable[None]],
) -> None:
    """Take *body* out of its frame, as it comes, and *send* it; *show* sees it.

    Raises:
        BrokenBody: It is not complete.
    """
    data = body.feed(rest) if rest else b""
    while True:
        if show is not None:
            show(data)
        await send(data)
        if body.complete:
            return
        data = body.feed(await receive(upstream))
        # Both sides may be ready all the time; the others want their turn.
        await trio.lowlevel.checkpoint()


async def _read_error(upstream: Wire, body: Unframed, rest: bytes) -> bytes:
    received = bytearray()
    try:
        received += body.feed(rest) if rest else b""
        while not body.complete and len(received) < MOST_OF_AN_ERROR:
            received += body.feed(await receive(upstream))
    except BrokenBody:
        pass  # what there is says more than nothing
    return bytes(received)


class Whole:
    """The body behind *head*, of which *rest* was read with it, taken in whole."""

    def __init__(self, upstream: Wire, head: ResponseHead, rest: bytes) -> None:
        self._upstream = upstream
        self._body = Unframed(head.length, chunked=head.chunked)
        self._next = rest
        self._read = bytearray()

    async def read(self) -> bytes:
        """Return it; may be cancelled, and called again.

        Raises:
            Refusal: It breaks off, or is too large.
        """
        try:
            while True:
                if self._next:
                    self._read += self._body.feed(self._next)
                    self._next = b""
                if self._body.complete:
                    return bytes(self._read)
                if len(self._read) > MOST_OF_AN_ANSWER:
                    raise Refusal("bad_gateway", "the engine's answer is too large to be streamed")
                self._next = await receive(self._upstream)
                if not self._next:
                    self._body.feed(b"")
        except BrokenBody:
            raise Refusal("bad_gateway", "the engine's answer broke off") from None


async def receive(upstream: Wire) -> bytes:
    """Return what *upstream* sends, `b""` at its end of file.

    Raises:
        BrokenBody: The connection broke.
    """
    try:
        return await upstream.receive(PIECE)
    except UpstreamGone as error:
        raise BrokenBody from error

"""An answer in chunks for a client of HTTP/1.0, which knows none.

It gets the body alone, and sees its end by the connection's.  Servers ought to
see to that themselves, and not all do.
"""

from __future__ import annotations

from collections.abc import Callable

from spark_activator.activator.continued import pass_on
from spark_activator.activator.wire import Wire
from spark_activator.http.unframed import Unframed


async def send_unchunked(
    client: Wire, upstream: Wire, rest: bytes, show: Callable[[bytes | memoryview], None] | None
) -> None:
    """Send *client* what *upstream* sends in chunks, of which *rest* was read; *show* sees it.

    Raises:
        BrokenBody: It is not complete.
        ClientGone: The client is.
    """
    await pass_on(Unframed(None, chunked=True), upstream, rest, show, client.send_all)

"""What holds for any bytes that a client may send: checked by hypothesis and by a fuzzer.

A failure is an AssertionError; a refusal is as good as a request that is read.
"""

from __future__ import annotations

import h11

from spark_activator.errors import Refusal
from spark_activator.http import head as heads
from spark_activator.http.body import Body, Chunked, body_of
from spark_activator.http.head import HOP_BY_HOP, KEY_FIELDS, Head

FRAMING = {b"content-length", b"transfer-encoding"}


def check(raw: bytes) -> None:
    """Read *raw* in several ways, and have another parser read what passes."""
    whole = verdict([raw])
    for pieces in ([raw[:at], raw[at:]] for at in cuts(raw)):
        assert verdict(pieces) == whole, (raw, pieces)
    if len(raw) <= 300:
        assert verdict([raw[at : at + 1] for at in range(len(raw))]) == whole, raw
    try:
        end = heads.find_end(raw)
        if end is None:
            return
        head = heads.parse(raw[:end])
    except Refusal:
        return
    check_forwarded(head)
    check_second_opinion(head, raw)


def verdict(pieces: list[bytes]) -> object:
    """Read *pieces* as a connection does: the refusal's code, or all that was understood."""
    received = bytearray()
    rest = list(pieces)
    try:
        while (end := heads.find_end(received) if received else None) is None:
            if not rest:
                return "incomplete"
            received += rest.pop(0)
        head = heads.parse(bytes(received[:end]))
        body = body_of(head)
        content = body.feed(bytes(received[end:]))
        for piece in rest:
            content += body.feed(piece)
    except Refusal as refusal:
        return refusal.code
    return head.for_upstream(), head.fields, unframed(body, content), body.complete


def unframed(body: Body, content: bytes) -> bytes:
    """The content without our chunks, whose sizes depend on the pieces."""
    if not isinstance(body, Chunked):
        return content
    found = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        found, content = found + content[: int(size, 16)], content[int(size, 16) + 2 :]
    return found


def cuts(raw: bytes) -> list[int]:
    """Where to cut in two: at ends of lines, beside them, and in the middle."""
    found = {len(raw) // 2}
    at = raw.find(b"\r")
    while at >= 0 and len(found) < 12:
        found |= {at, at + 1, at + 2}
        at = raw.find(b"\r", at + 1)
    return sorted(found)


def check_forwarded(head: Head) -> None:
    """What the engine gets means to us what the client's means, less what ends here."""
    written = head.for_upstream()
    # Ours says that the connection closes, which may be one field too many for ourselves.
    if len(written) > heads.MAX_HEAD or written.count(b"\r\n") > heads.MAX_FIELDS + 2:
        return
    again = heads.parse(written)
    assert (again.method, again.target, again.minor) == (head.method, head.target, head.minor)
    assert again.length == head.length
    assert again.fields == tuple(f for f in head.fields if f[0] not in KEY_FIELDS)
    assert not again.upgrade
    assert again.for_upstream() == written


def check_second_opinion(head: Head, raw: bytes) -> None:
    """What we accept h11 accepts, and reads alike to the end of the body."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(raw)
    request = reader.next_event()
    assert isinstance(request, h11.Request), raw
    assert request.method == head.method.encode(), raw
    assert request.target == head.target.encode(), raw
    theirs = [(name, value) for name, value in request.headers if name not in FRAMING | HOP_BY_HOP]
    ours = [(name, value.strip(b" \t")) for name, value in head.fields]
    named = set(theirs) - set(ours)
    # What `Connection` names is theirs alone; else both have the same, in order.
    options = b",".join(value for name, value in request.headers if name == b"connection").lower()
    assert all(name in options for name, _ in named), (raw, named)
    assert [field for field in theirs if field not in named] == ours, raw
    try:
        body = body_of(head)
        content = unframed(body, body.feed(raw[raw.index(b"\r\n\r\n") + 4 :]))
    except Refusal:
        return
    if body.complete:
        assert body_of_h11(reader) == content, raw


def body_of_h11(reader: h11.Connection) -> bytes:
    content = b""
    try:
        while isinstance(event := reader.next_event(), h11.Data):
            content += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
    except h11.RemoteProtocolError:
        pass  # about a trailer: it reads them as fields of the request, we as nothing
    return content

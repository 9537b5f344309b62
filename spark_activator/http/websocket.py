"""The handshake of a WebSocket (RFC 6455, 4): the client's, and whether the engine took it.

What is said afterwards is nobody's but theirs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

from spark_activator.errors import Refusal
from spark_activator.http.head import Head

# RFC 6455, 1.3: what a server that knows WebSockets puts behind the client's key.
_SERVER: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = b"13"
_KEY_BYTES: Final = 16
# Pages cannot send Authorization with a WebSocket, so OpenAI's clients offer
# their key as one of the protocols that they would speak.
_KEY_PROTOCOL: Final = "openai-insecure-api-key."
_PROTOCOLS = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:, *[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")


def check(head: Head) -> None:
    """Have *head* be a handshake.

    Raises:
        Refusal: It is something else, or could be read as something else.
    """
    if head.upgrade != b"websocket" or head.length != 0:
        raise _refusal("expected a WebSocket: 'Connection: Upgrade', 'Upgrade: websocket', no body")
    if head.values(b"sec-websocket-version") != [_VERSION]:
        raise _refusal("expected 'Sec-WebSocket-Version: 13'")
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _refusal(f"expected one Sec-WebSocket-Key: {_KEY_BYTES} bytes as base64")
    offered = head.values(b"sec-websocket-protocol")
    if len(offered) > 1 or (offered and not _PROTOCOLS.fullmatch(offered[0].decode("latin-1"))):
        raise _refusal("expected one list of names as Sec-WebSocket-Protocol")


def accepts(head: Head, status: int, fields: list[tuple[bytes, bytes]]) -> bool:
    """Say whether the engine's answer takes the handshake *head*: for this key, no other."""
    proof = base64.b64encode(_digest((head.value(b"sec-websocket-key") or b"") + _SERVER))
    return (
        status == 101
        and [value.lower() for name, value in fields if name == b"upgrade"] == [b"websocket"]
        and [value for name, value in fields if name == b"sec-websocket-accept"] == [proof]
    )


def credential(head: Head) -> str | None:
    """The API key that is offered as a protocol, or None."""
    for protocol in _offered(head):
        if protocol.startswith(_KEY_PROTOCOL):
            return protocol.removeprefix(_KEY_PROTOCOL)
    return None


def for_upstream(head: Head) -> bytes:
    """Write the head that the engine gets, without the key."""
    kept = [name for name in _offered(head) if not name.startswith(_KEY_PROTOCOL)]
    fields = [field for field in head.fields if field[0] != b"sec-websocket-protocol"]
    if kept:
        fields.append((b"sec-websocket-protocol", ", ".join(kept).encode()))
    return head.for_upgrade(tuple(fields))


def _offered(head: Head) -> list[str]:
    offered = (head.value(b"sec-websocket-protocol") or b"").decode("latin-1")
    return [name.strip(" ") for name in offered.split(",") if name.strip(" ")]


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _digest(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()  # RFC 6455's choice


def _refusal(message: str) -> Refusal:
    return Refusal("invalid_request", message, headers={"Sec-WebSocket-Version": _VERSION.decode()})

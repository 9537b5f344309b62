"""WebSocket frames, as a server reads and writes them (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Awaitable, Callable

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
# A minute of sound as base64 has 2.5 MB.
MAX_MESSAGE = 16 * 2**20

# Reads some bytes, none at the end.
Receive = Callable[[], Awaitable[bytes]]
Send = Callable[[bytes], Awaitable[None]]


class Closed(Exception):
    """The other side has left, or does not keep to the rules."""


def accept_key(key: str) -> str:
    """Return what the server answers to a client's *key* (4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()  # noqa: S324  # the RFC's own


class WebSocket:
    """One connection, after the upgrade.

    Args:
        receive: Reads from the client.
        send: Writes to it.
        early: What came with the request already.
    """

    def __init__(self, receive: Receive, send: Send, early: bytes = b"") -> None:
        self._receive = receive
        self._send = send
        self._pending = bytearray(early)

    async def read(self) -> str:
        """Return the next message; pings are answered on the way.

        Raises:
            Closed: There is none any more.
        """
        message = bytearray()
        while True:
            final, code, payload = await self._frame()
            if code == _CLOSE:
                await self.close(payload[:2])
                raise Closed
            if code == _PING:
                await self._write(_PONG, payload)
            elif code != _PONG:
                message += payload
                if len(message) > MAX_MESSAGE:
                    raise Closed
                if final:
                    return message.decode("utf-8", "replace")

    async def write(self, message: bytes) -> None:
        """Send one text message."""
        await self._write(_TEXT, message)

    async def close(self, code: bytes = b"\x03\xe8") -> None:
        """Say goodbye; 1000 means that all was well."""
        await self._write(_CLOSE, code)

    async def _frame(self) -> tuple[bool, int, bytes]:
        first, second = await self._take(2)
        length = second & 127
        if length == 126:
            [length] = struct.unpack(">H", await self._take(2))
        elif length == 127:
            [length] = struct.unpack(">Q", await self._take(8))
        if not second & 128 or length > MAX_MESSAGE:
            raise Closed
        mask = await self._take(4)
        payload = await self._take(length)
        key = mask * (length // 4 + 1)
        # Much faster than byte by byte.
        masked = int.from_bytes(payload, "big") ^ int.from_bytes(key[:length], "big")
        return bool(first & 128), first & 15, masked.to_bytes(length, "big")

    async def _take(self, count: int) -> bytes:
        while len(self._pending) < count:
            data = await self._receive()
            if not data:
                raise Closed
            self._pending += data
        taken = bytes(self._pending[:count])
        del self._pending[:count]
        return taken

    async def _write(self, code: int, payload: bytes) -> None:
        length = len(payload)
        if length < 126:
            size = struct.pack(">BB", 128 | code, length)
        elif length < 2**16:
            size = struct.pack(">BBH", 128 | code, 126, length)
        else:
            size = struct.pack(">BBQ", 128 | code, 127, length)
        await self._send(size + payload)

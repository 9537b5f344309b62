"""How many tokens an answer took, read off its bytes as they pass.

Engines say so in a `usage` object, at the end of an answer or of a stream, and
Anthropic's shape has half of it at the beginning.  So the first and the last
few KiB are kept, and searched when the answer is over.  A stream that never
says it (`stream_options` was not asked for) is counted by its pieces, which is
an estimate: engines may put several tokens in one.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

# A `usage` object has some 300 bytes; the last event of a stream ends with it, and
# what follows it in an answer is small.
TAIL: Final = 4096
HEAD: Final = 1024
# So much tells whether it is a stream of events, also behind a chunk's length.
BEGINNING: Final = 16

_USAGE = b'"usage"'
# In a string of JSON the quotes would be escaped: nobody's text looks like this.
_SENT = re.compile(rb'"(?:prompt_tokens|input_tokens)"\s*:\s*([0-9]{1,12})(?![0-9.eE])')
_GOT = re.compile(rb'"(?:completion_tokens|output_tokens)"\s*:\s*([0-9]{1,12})(?![0-9.eE])')
# The last piece of a stream of OpenAI's, which is no token.
_DONE = b"data: [DONE]"
_PIECE = b"\ndata:"
# How a stream of events begins, behind the length of its first chunk.
_EVENTS = re.compile(rb"(?:[0-9a-fA-F]{1,8}\r\n)?(?:data|event|id|retry)?:")


class Meter:
    """One answer's tokens; `feed` it the body, or as much of it as is seen."""

    __slots__ = ("_before", "_head", "_kept", "_pieces", "_streams", "_tail")

    def __init__(self) -> None:
        self._head = b""
        self._tail: deque[bytes] = deque()  # the last pieces,
        self._kept = 0  # and their length: joined only when it is asked for
        # What may be the beginning of a piece, which arrives in any parts; an answer
        # begins a line.
        self._before = b"\n"
        self._pieces = 0
        self._streams = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take in what comes next."""
        known = len(self._head)
        if known < HEAD:
            self._head += data[:HEAD]
            if known < BEGINNING:
                self._streams = _EVENTS.match(self._head) is not None
        if self._streams:
            self._pieces += (self._before + data).count(_PIECE)
        last = bytes(data[-TAIL:])
        self._before = (self._before + last)[1 - len(_PIECE) :]
        self._keep(last)

    def _keep(self, last: bytes) -> None:
        self._tail.append(last)
        self._kept += len(last)
        while self._kept - len(self._tail[0]) >= TAIL:
            self._kept -= len(self._tail.popleft())

    def tokens(self) -> tuple[int, int]:
        """Say how many were sent, and got; to be asked when the answer is over."""
        tail = b"".join(self._tail)
        sent, got = self._last(_SENT, tail), self._last(_GOT, tail)
        if sent is None and got is None and self._pieces:
            return 0, max(0, self._pieces - (_DONE in tail))
        return sent or 0, got or 0

    def _last(self, pattern: re.Pattern[bytes], tail: bytes) -> int | None:
        for part in (tail, self._head):
            begin = part.find(_USAGE)
            found = pattern.findall(part, begin) if begin >= 0 else []
            if found:
                return int(found[-1])
        return None

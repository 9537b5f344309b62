"""An engine that only sends: stamped frames at an even pace, cheaply enough for two cores.

    python engine.py SOCKET

The request's body says what to send: `{"frames": 100, "rate": 50}`, a rate of 0
being "at once and then wait".  Each frame is one HTTP chunk with a server-sent
event of 250 bytes, and holds CLOCK_MONOTONIC when it was handed to the kernel.
Streams are spread evenly over their interval, so that nearly every frame wakes
whoever relays it: the costly case.

Each line on standard output is a stream that its client left: the stamp at which
that was seen here.
"""

from __future__ import annotations

import heapq
import json
import re
import select
import socket
import sys
import time

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
)
FRAME = 250
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def frame(number: int) -> bytes:
    """One chunk; `loadgen` looks for its stamp."""
    text = b"data: T=%016d N=%08d " % (time.monotonic_ns(), number)
    return b"%x\r\n%s\r\n" % (FRAME, text.ljust(FRAME - 2, b".") + b"\n\n")


class Stream:
    """One response."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.sent = 0
        self.frames = 0
        self.interval = 0.0

    def begin(self) -> bool:
        """Read; True once the whole request is here, EOFError when it ended before."""
        data = self.sock.recv(1 << 20)
        if not data:
            raise EOFError
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or (length and len(body) < int(length[1])):
            return False
        asked = json.loads(body) if body else {}
        self.frames = asked.get("frames", 1)
        self.interval = 1 / asked["rate"] if asked.get("rate") else 0.0
        return True


def serve(path: str) -> None:
    """Serve until killed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4096)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    streams: dict[int, Stream] = {}
    due: list[tuple[float, int, Stream]] = []
    begun = 0
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else 60.0
        # epoll counts in milliseconds, which is longer than the pause between frames.
        select.select([poll], [], [], wait)
        for fd, _ in poll.poll(0):
            if fd == listener.fileno():
                sock, _ = listener.accept()
                streams[sock.fileno()] = Stream(sock)
                poll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)
                continue
            stream = streams[fd]
            try:
                if stream.frames:
                    # It has sent all of its request: this is its end.
                    raise EOFError
                if stream.begin():
                    stream.sock.sendall(HEAD)
                    begun += 1
                    # The golden ratio spreads any number of streams evenly.
                    start = time.monotonic() + stream.interval * (begun * 0.618034 % 1)
                    heapq.heappush(due, (start, begun, stream))
            except (EOFError, OSError):
                print(time.monotonic_ns(), flush=True)
                close(poll, streams, stream)
        while due and due[0][0] <= time.monotonic():
            at, order, stream = heapq.heappop(due)
            if stream.sock.fileno() < 0:
                continue
            try:
                stream.sock.sendall(frame(stream.sent))
                stream.sent += 1
                if stream.sent < stream.frames:
                    heapq.heappush(due, (at + stream.interval, order, stream))
                elif stream.interval or stream.frames == 1:
                    stream.sock.sendall(b"0\r\n\r\n")
                    close(poll, streams, stream)
            except OSError:
                print(time.monotonic_ns(), flush=True)
                close(poll, streams, stream)


def close(poll: select.epoll, streams: dict[int, Stream], stream: Stream) -> None:
    """End *stream*."""
    poll.unregister(stream.sock)
    del streams[stream.sock.fileno()]
    stream.sock.close()


if __name__ == "__main__":
    serve(sys.argv[1])

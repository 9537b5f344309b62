"""Clients in one process: they ask `engine`, and compare its stamps with the clock.

    python loadgen.py TARGET sequential COUNT
    python loadgen.py TARGET streams STREAMS RATE SECONDS

TARGET is a port of 127.0.0.1 or the path of a unix socket.  The result is JSON
on the last line of standard output.  `streams` says `begin` when every stream
has its first frame, and `end` after SECONDS: whoever measures the proxy reads
its counters then.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time

STAMP = re.compile(rb"T=(\d{16}) N=(\d{8})")
# What is left of a piece may hold the beginning of a stamp, whose frame follows.
TAIL = 40


# Nothing here takes that long: whoever does not answer is gone.
LIMIT = 30.0


def connect(target: str) -> socket.socket:
    """Connect to *target*."""
    if target.startswith("/"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(target)
        return sock
    sock = socket.create_connection(("127.0.0.1", int(target)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def request(frames: int, rate: float) -> bytes:
    """Ask for *frames* at *rate* a second."""
    body = json.dumps({"model": "bench", "stream": True, "frames": frames, "rate": rate})
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}"
    ).encode()


def quantiles(values: list[float]) -> dict[str, float]:
    """Return p50 and p99."""
    ordered = sorted(values)
    return {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 99)}


def sequential(target: str, count: int) -> dict[str, object]:
    """One request after the other: the time to the first frame, in microseconds."""
    times, asked = [], request(1, 0)
    for _ in range(count):
        began = time.monotonic_ns()
        with connect(target) as sock:
            sock.settimeout(LIMIT)
            sock.sendall(asked)
            received = b""
            while STAMP.search(received) is None:
                piece = sock.recv(65536)
                if not piece:
                    raise SystemExit(f"no answer: {received!r}")
                received += piece
            times.append((time.monotonic_ns() - began) / 1e3)
            while sock.recv(65536):
                pass
    return {"first_frame": quantiles(times)}


def streams(target: str, count: int, rate: float, seconds: float) -> dict[str, object]:
    """*count* streams at once: latency of frames and their jitter, in microseconds."""
    frames = int(rate * (seconds + 1))
    poll, socks, tails = select.epoll(), {}, {}
    for _ in range(count):
        sock = connect(target)
        sock.sendall(request(frames, rate))
        socks[sock.fileno()], tails[sock.fileno()] = sock, b""
        poll.register(sock, select.EPOLLIN)
    last: dict[int, float] = {}
    latencies, gaps = [], []
    total, deadline, within = 0, 0.0, None
    while socks:
        events = poll.poll(LIMIT)
        if not events:
            raise SystemExit(f"{len(socks)} streams have stopped")
        for fd, _ in events:
            data = socks[fd].recv(65536)
            now = time.monotonic_ns()
            if not data:
                poll.unregister(fd)
                socks.pop(fd).close()
                continue
            text, end = tails[fd] + data, 0
            for found in STAMP.finditer(text):
                total, end = total + 1, found.end()
                latency = (now - int(found[1])) / 1e3
                if deadline and within is None:
                    latencies.append(latency)
                    gaps.append(abs(latency - last[fd]))
                last[fd] = latency
            tails[fd] = text[max(end, len(text) - TAIL) :]
        if not deadline and len(last) == count:
            print("begin", flush=True)
            deadline = time.monotonic() + seconds
        elif deadline and within is None and time.monotonic() >= deadline:
            print("end", flush=True)
            within = len(latencies)
    return {
        "frames": within,
        "lost": count * frames - total,
        "latency": quantiles(latencies),
        "gap": quantiles(gaps),
    }


def main() -> None:
    """Run what the arguments say."""
    target, kind, *numbers = sys.argv[1:]
    if kind == "sequential":
        result = sequential(target, int(numbers[0]))
    else:
        result = streams(target, int(numbers[0]), float(numbers[1]), float(numbers[2]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()

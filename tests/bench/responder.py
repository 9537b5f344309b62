"""An engine of which each process serves one request at a time, so that none waits for another.

    python responder.py SOCKET PROCESSES

It reads a request to its end without looking at it, and answers at once; one that says
`"frames": COUNT` near its end gets as many, one every 10 ms, each stamped.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import sys
import time

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
ANSWER = b'data: {"choices": []}\n\ndata: [DONE]\n\n'
PACE = 0.01
FRAME = b"data: T=%016d " + b"." * 200 + b"\n\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
FRAMES = re.compile(rb'"frames": *(\d+)')
# A client's fields can be anywhere; `front_door` has this one last.
END = 200
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def read(client: socket.socket, scratch: bytearray) -> int:
    """Read one request, and return how many frames it wants."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = client.recv(65536)
        if not piece:
            return -1
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    found = LENGTH.search(head)
    left, tail = (int(found[1]) if found else 0) - len(body), body[-END:]
    while left > 0:
        count = client.recv_into(scratch)
        if not count:
            return -1
        left -= count
        tail = (tail + bytes(scratch[max(0, count - END) : count]))[-END:]
    wanted = FRAMES.search(tail)
    return int(wanted[1]) if wanted else 0


def answer(client: socket.socket, frames: int) -> None:
    """Send all of it."""
    client.sendall(HEAD)
    if not frames:
        client.sendall(ANSWER)
        return
    due = time.monotonic()
    for _ in range(frames):
        client.sendall(FRAME % time.monotonic_ns())
        due += PACE
        time.sleep(max(0.0, due - time.monotonic()))  # noqa: TID251  # its pace


def serve(listener: socket.socket) -> None:
    """Serve until killed."""
    scratch = bytearray(1 << 20)
    while True:
        client, _ = listener.accept()
        with client:
            try:
                frames = read(client, scratch)
                if frames >= 0:
                    answer(client, frames)
            except OSError:
                continue


def main() -> None:
    """Listen, and serve in as many processes as the arguments say."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(4096)
    for _ in range(int(sys.argv[2])):
        if not os.fork():
            # They end with whoever is killed for them.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            serve(listener)
    signal.pause()


if __name__ == "__main__":
    main()

"""How far one activator reaches: memory, clients that leave, clients that all come at once.

python tests/bench/reach.py
"""

from __future__ import annotations

import select
import socket
import struct
import time

import loadgen
import rig

REQUESTS, AT_ONCE = 1000, 64
LEAVERS = 200
CROWD = 1000
# The fake runner takes that long, so that the whole crowd is held when it is ready.
COLD_START = 3.0


def memory(place: rig.Place) -> tuple[str, str, bool]:
    """Peak memory after many requests."""
    with rig.listen() as listener, place.activator(listener) as activator:
        port = str(listener.getsockname()[1])
        left, poll, open_now = REQUESTS, select.epoll(), {}
        while left or open_now:
            while left and len(open_now) < AT_ONCE:
                sock = loadgen.connect(port)
                sock.sendall(loadgen.request(5, 50))
                open_now[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
                left -= 1
            for fd, _ in poll.poll():
                if not open_now[fd].recv(65536):
                    poll.unregister(fd)
                    open_now.pop(fd).close()
        peak = activator.peak_memory()
    return f"VmHWM after {REQUESTS} requests, {AT_ONCE} at once", f"{peak:.1f} MiB", peak <= 32


def leaving(place: rig.Place, engine: rig.Process, *, reset: bool) -> tuple[str, str, bool]:
    """From a client's close to the engine seeing it."""
    taken = []
    with rig.listen() as listener, place.activator(listener):
        port = str(listener.getsockname()[1])
        for _ in range(LEAVERS):
            sock = loadgen.connect(port)
            sock.sendall(loadgen.request(10_000, 50))
            received = b""
            while loadgen.STAMP.search(received) is None:
                received += sock.recv(65536)
            if reset:
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            left = time.monotonic_ns()
            sock.close()
            taken.append((int(engine.line()) - left) / 1e6)
    how = "reset" if reset else "close"
    found = loadgen.quantiles(taken)
    value = f"p50 {found['p50']:.2f}, p99 {found['p99']:.2f} ms"
    return f"client's {how} seen by the engine, {LEAVERS} times", value, found["p99"] <= 100


def crowd(place: rig.Place, runner: rig.FakeRunner) -> list[tuple[str, str, bool]]:
    """Everybody at once, on a cold model."""
    runner.delay, before = COLD_START, len(runner.asked)
    with rig.listen() as listener, place.activator(listener) as activator:
        port = str(listener.getsockname()[1])
        poll, waiting, answered, broken = select.epoll(), {}, [], 0
        began = time.monotonic()
        for _ in range(CROWD):
            sock = loadgen.connect(port)
            sock.sendall(loadgen.request(1, 0))
            waiting[sock.fileno()] = (sock, bytearray())
            poll.register(sock, select.EPOLLIN)
        connected = time.monotonic() - began
        while waiting:
            events = poll.poll(30)
            assert events, f"{len(waiting)} clients without an answer"
            for fd, _ in events:
                sock, received = waiting[fd]
                try:
                    piece = sock.recv(65536)
                except ConnectionError:
                    piece, received = b"", bytearray()
                received += piece
                if not piece:
                    complete = loadgen.STAMP.search(received) and received.endswith(b"0\r\n\r\n")
                    broken += not complete
                    answered.append(time.monotonic())
                    poll.unregister(fd)
                    waiting.pop(fd)[0].close()
        # The first answer is no place to begin: all of them are served side by side.
        spread = max(answered) - runner.ready_at
        peak = activator.peak_memory()
    starts = len(runner.asked) - before
    runner.delay = 0.0
    return [
        (f"{CROWD} clients at once: without a whole answer", str(broken), not broken),
        (f"{CROWD} clients at once: demands at the runner", str(starts), starts == 1),
        (f"{CROWD} clients at once: from ready to the last answer", f"{spread:.2f} s", spread <= 1),
        (
            f"{CROWD} clients at once: connected within",
            f"{connected:.2f} s",
            connected < COLD_START,
        ),
        (f"{CROWD} clients at once: VmHWM", f"{peak:.1f} MiB", True),
    ]


def main() -> None:
    """Measure everything once."""
    goals = ["<= 32 MiB", "p99 <= 100 ms", "p99 <= 100 ms", "0", "1", "<= 1 s", "before ready", "-"]
    with rig.place() as place:
        runner = place.runner()
        with place.engine() as engine:
            rows = [memory(place), leaving(place, engine, reset=False)]
            rows.append(leaving(place, engine, reset=True))
            rows += crowd(place, runner)
    print("| what | measured | goal | |")
    print("|---|---|---|---|")
    for (what, value, held), goal in zip(rows, goals, strict=True):
        print(f"| {what} | {value} | {goal} | {'held' if held else 'MISSED'} |")


if __name__ == "__main__":
    main()

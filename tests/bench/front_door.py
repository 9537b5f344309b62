"""What the front door costs: keys, policy and nginx before a model that is warm.

    python tests/bench/front_door.py [--requests 300] [--rounds 2]

A chat of 2 KB: the time from connect to the first byte of the answer, by every way,
against the engine's own socket.  A picture of 20 MB: how long streams of a token
every 10 ms stand still beside it.  There is a key, and every request has it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import loadgen
import rig
from nginx_process import Nginx, entry
from responder import PACE

from spark_activator.catalog import frozen
from spark_activator.catalog.model import Requests

HERE = Path(__file__).parent
KEY = "sk-bench"
# Clients that read streams, the one with the picture, and a little more.
STREAMS, PROCESSES = 8, 12
MODELS = 60
# Of the chat: what agents send has a system text, some turns, and few parameters.
CHAT_BYTES, PICTURE_BYTES = 2_000, 20_000_000
# Chats by one way before it is the next one's turn.  By one each, whoever is asked finds
# the processor's caches taken by all the others: that costs 0.2 to 0.6 ms, more than
# the rules do, and the more the longer a way was not asked.
TURN = 50
# Seconds that streams are read, alone and beside pictures.
WATCHED = 4.0
GOALS = {"port": 1.0, "nginx": 2.0}


@dataclass
class Way:
    """One way to the engine.

    Attributes:
        target: A port of 127.0.0.1, or the engine's socket.
        times: Milliseconds to the first byte of each answer.
        beside: The same of the engine's own socket, asked just before each.
        gaps: Milliseconds between two tokens, alone and beside a picture.
        took: Milliseconds that a picture took to its first byte.
    """

    target: str
    times: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    gaps: dict[str, list[float]] = field(default_factory=lambda: {"alone": [], "beside": []})
    took: list[float] = field(default_factory=list)


def request(body: bytes) -> bytes:
    """Write a chat's request."""
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


def chat(content: object, **more: object) -> bytes:
    """Write a chat's body; what *more* says comes last."""
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    body = {"model": rig.NAME, "messages": said, "max_tokens": 256, "temperature": 0.2}
    return json.dumps({**body, "stream": True, **more}).encode()


def small() -> bytes:
    """2 KB."""
    words = "Tell me a story about a socket. " * 100
    return chat(words[: CHAT_BYTES - len(chat(""))])


def picture() -> bytes:
    """20 MB, as a client sends a photograph."""
    data = base64.b64encode(os.urandom(PICTURE_BYTES * 3 // 4)).decode()
    url = {"url": f"data:image/png;base64,{data}"}
    return chat(
        [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}]
    )


def first_byte(target: str, asked: bytes) -> float:
    """Ask, and return how many milliseconds it took to the first byte; read all of it."""
    began = time.monotonic_ns()
    with loadgen.connect(target) as sock:
        sock.settimeout(loadgen.LIMIT)
        sock.sendall(asked)
        received = sock.recv(65536)
        took = (time.monotonic_ns() - began) / 1e6
        if not received.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"{target}: {received[:500]!r}")
        while sock.recv(65536):
            pass
    return took


def read_streams(target: str, seconds: float) -> list[tuple[int, int]]:
    """Read streams; return when each token of each came, and how long after the last one."""
    asked = request(chat("Go on", frames=int(seconds / PACE)))
    poll, socks, last, gaps = select.epoll(), {}, {}, []
    for _ in range(STREAMS):
        sock = loadgen.connect(target)
        sock.sendall(asked)
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    print("begin", flush=True)
    while socks:
        for fd, _ in poll.poll(loadgen.LIMIT):
            data = socks[fd].recv(65536)
            now = time.monotonic_ns()
            if not data:
                poll.unregister(fd)
                socks.pop(fd).close()
            elif b"T=" in data:
                if fd in last:
                    gaps.append((now, now - last[fd]))
                last[fd] = now
    return gaps


def watch(way: Way, asked: bytes) -> None:
    """Read streams by *way*, in the second half of the time beside pictures."""
    reader = rig.Process(
        rig.PYTHON, str(HERE / "front_door.py"), "--read", way.target, "--seconds", str(2 * WATCHED)
    )
    with reader:
        assert reader.line() == "begin\n"
        began = time.monotonic()
        alone_until = time.monotonic_ns() + int(WATCHED * 1e9)
        time.sleep(WATCHED)  # noqa: TID251  # alone
        while time.monotonic() - began < 2 * WATCHED - 0.5:
            way.took.append(first_byte(way.target, asked))
        last = time.monotonic_ns()
        for at, gap in json.loads(reader.line()):
            if at < last:
                way.gaps["alone" if at < alone_until else "beside"].append(gap / 1e6)


@contextlib.contextmanager
def activator(requests: Requests) -> Iterator[tuple[str, str]]:
    """Start an activator of a model with *requests*; yield the engine's socket and its port."""
    with rig.place() as place, rig.listen() as listener, contextlib.ExitStack() as stack:
        path = place.layout.frozen(rig.NAME)
        model = frozen.load(path.read_text())
        model = replace(model, context=131072, requests=requests)
        path.write_text(frozen.dump(model))
        write_key(place.layout.api_keys)
        place.runner()
        stack.enter_context(responder(place))
        stack.enter_context(place.activator(listener))
        port = str(listener.getsockname()[1])
        # One that no client has reached leaves after five seconds.
        first_byte(port, request(small()))
        yield str(place.engine_socket), port


def responder(place: rig.Place) -> rig.Process:
    """Start the engine."""
    script = str(HERE / "responder.py")
    engine = rig.Process(rig.PYTHON, "-I", script, str(place.engine_socket), str(PROCESSES))
    rig.wait_until(place.engine_socket.exists)
    return engine


def write_key(path: Path) -> None:
    """Have one key exist."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    line = {"name": "bench", "sha256": digest, "models": None, "admin": False, "added": ""}
    path.write_text(json.dumps({**line, "added": "2026-11-26"}) + "\n")


@contextlib.contextmanager
def nginx(port: str, models: int) -> Iterator[str]:
    """Start nginx with as many models, ours the last; yield its port."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        made = Nginx(Path(directory))
        write_key(made.config / "api-keys")
        names = [f"other-{n}" for n in range(models - 1)]
        entries = {name: entry(name, 1, f"org/{name}", f"{name}-precise") for name in names}
        made.route({**entries, rig.NAME: entry(rig.NAME, int(port))})
        with made.running():
            yield str(made.port)


def row(*cells: object) -> None:
    """Print one row of a table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |")


def quantiles(values: list[float]) -> tuple[float, float]:
    """p50 and p99."""
    found = loadgen.quantiles(values)
    return found["p50"], found["p99"]


def report_small(ways: dict[str, Way]) -> None:
    """Print what a chat took."""
    print(f"\nA chat of {len(small())} bytes, {len(ways['engine'].times)} times by each way, ms:\n")
    row("way", "p50", "p99", "added p50", "added p99", "goal, p50")
    row(*["---"] * 6)
    for name, way in ways.items():
        mine, (_, p99) = quantiles(way.times), quantiles(way.beside)
        added = statistics.median(
            time - other for time, other in zip(way.times, way.beside, strict=True)
        )
        goal = next((f"<= {most}" for kind, most in GOALS.items() if name.startswith(kind)), "")
        row(name, *(f"{x:.2f}" for x in (*mine, added, mine[1] - p99)), goal)


def report_picture(ways: dict[str, Way]) -> None:
    """Print how long streams stood still."""
    print(
        f"\n{STREAMS} streams, a token every {PACE * 1e3:.0f} ms; gaps beside pictures of"
        f" {PICTURE_BYTES / 1e6:.0f} MB, one after the other, ms:\n"
    )
    row("way", "alone p50 / p99 / max", "beside p50 / p99 / max", "added p99", "a picture took")
    row(*["---"] * 5)
    for name, way in ways.items():
        if not way.took:
            continue
        alone, beside = (
            (*quantiles(way.gaps[when]), max(way.gaps[when])) for when in ("alone", "beside")
        )
        shown = (" / ".join(f"{x:.1f}" for x in values) for values in (alone, beside))
        took = f"{statistics.median(way.took):.0f}, {len(way.took)} of them"
        row(name, *shown, f"{beside[1] - alone[1]:.1f}", took)


def measure(count: int, rounds: int) -> dict[str, Way]:
    """Ask by every way in turn."""
    # What changes every request has all of it written anew.
    changing = Requests(strict_roles=True, flatten_text=True, set={"top_k": 20})
    with contextlib.ExitStack() as stack:
        engine, port = stack.enter_context(activator(Requests()))
        _, changed = stack.enter_context(activator(changing))
        ways = {
            "engine": Way(engine),
            "port, nothing to change": Way(port),
            "port, every request changed": Way(changed),
            "nginx, 3 models": Way(stack.enter_context(nginx(port, 3))),
            f"nginx, {MODELS} models": Way(stack.enter_context(nginx(port, MODELS))),
        }
        asked, large = request(small()), request(picture())
        for way in ways.values():
            first_byte(way.target, asked)
        for done in range(0, count, TURN):
            for way in ways.values():
                for _ in range(min(TURN, count - done)):
                    way.beside.append(first_byte(engine, asked))
                    way.times.append(first_byte(way.target, asked))
        report_small(ways)
        for _ in range(rounds):
            for name, way in ways.items():
                if name != f"nginx, {MODELS} models":
                    watch(way, large)
        report_picture(ways)
    return ways


def main() -> None:
    """Measure, or read streams for somebody who does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(json.dumps(read_streams(given.read, given.seconds)))
        return
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f}")
    measure(given.requests, given.rounds)


if __name__ == "__main__":
    main()

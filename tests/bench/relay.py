"""What relaying costs: ours beside systemd-socket-proxyd and nginx, in one interleaved run.

    python tests/bench/relay.py [--rounds 5] [--seconds 3] [--nested]

Every round runs every proxy once, in an order that moves on from round to round;
what counts are the medians of the rounds' ratios, because this is how machines
with other work on them can be compared.  CPU is all threads of the proxy, from
the kernel's schedstat, between the first frame of the last stream and the end.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import rig

LOADS = ((64, 50), (8, 30))
ADDED = ("added first frame p50 / p99", "added latency p50 / p99", "added gap p50 / p99")
PROXYD = "/lib/systemd/systemd-socket-proxyd"
NGINX = """
daemon off; master_process off; pid {root}/nginx.pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://unix:{upstream}:; proxy_http_version 1.1; proxy_buffering off;
        }}
    }}
}}
"""


@dataclass
class Row:
    """One proxy in one round."""

    cpu: float  # microseconds a chunk; 0 for none
    first: dict[str, float]
    latency: dict[str, float]
    gap: dict[str, float]
    lost: int


@dataclass
class Proxy:
    """Where clients connect, and whose CPU counts."""

    target: str | int
    process: rig.Process | None


def measure(proxy: Proxy, streams: int, rate: int, seconds: float) -> Row:
    """Run one load through *proxy*."""
    first = rig.result(rig.load(proxy.target, "sequential", 100))["first_frame"]
    load = rig.load(proxy.target, "streams", streams, rate, seconds)
    assert load.line() == "begin\n"
    before = proxy.process.cpu() if proxy.process else 0
    assert load.line() == "end\n"
    used = (proxy.process.cpu() if proxy.process else 0) - before
    found = rig.result(load)
    cpu = used / 1e3 / found["frames"]
    return Row(cpu, first, found["latency"], found["gap"], found["lost"])


@contextlib.contextmanager
def proxies(place: rig.Place, *, nested: bool) -> Iterator[dict[str, Proxy]]:
    """Start all of them in front of one engine."""
    place.runner()
    with rig.listen() as ours, rig.listen() as theirs, contextlib.ExitStack() as stack:
        stack.enter_context(place.engine())
        socket_path = str(place.engine_socket)
        activator = stack.enter_context(place.activator(ours))
        proxyd = stack.enter_context(rig.activated(theirs, "proxyd", PROXYD, socket_path))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        conf = place.root / "nginx.conf"
        conf.write_text(NGINX.format(root=place.root, port=port, upstream=socket_path))
        nginx = stack.enter_context(rig.Process("nginx", "-c", str(conf), "-p", str(place.root)))
        rig.wait_until(lambda: rig.answers(port))
        found = {
            "direct": Proxy(socket_path, None),
            "activator": Proxy(ours.getsockname()[1], activator),
            "socket-proxyd": Proxy(theirs.getsockname()[1], proxyd),
            "nginx": Proxy(port, nginx),
        }
        if nested:
            other = stack.enter_context(rig.listen())
            process = stack.enter_context(place.activator(other, nested=True))
            found["epoll in trio"] = Proxy(other.getsockname()[1], process)
        for proxy in found.values():
            # An activator that no client has reached leaves after five seconds.
            rig.result(rig.load(proxy.target, "sequential", 1))
        yield found


def report(streams: int, rate: int, rounds: list[dict[str, Row]]) -> None:
    """Print every round, and the medians."""
    print(f"\n{streams} streams x {rate} chunks/s; microseconds; added = beyond direct")
    columns = ("CPU a chunk, each round", "median", "ratio to socket-proxyd", *ADDED, "lost")
    print(f"| proxy | {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|---|")
    for name in rounds[0]:
        rows = [(table[name], table["direct"], table["socket-proxyd"]) for table in rounds]
        cpu = " ".join(f"{row.cpu:.1f}" for row, _, _ in rows)
        ratio = statistics.median(row.cpu / other.cpu for row, _, other in rows)
        added = []
        for key in ("first", "latency", "gap"):
            for q in ("p50", "p99"):
                added.append(statistics.median(
                    getattr(row, key)[q] - getattr(direct, key)[q] for row, direct, _ in rows
                ))  # fmt: skip
        if name == "direct":
            base = [statistics.median(getattr(row, key)[q] for row, _, _ in rows)
                    for key in ("first", "latency", "gap") for q in ("p50", "p99")]  # fmt: skip
            added = base
        pairs = " | ".join(
            f"{a:.0f} / {b:.0f}" for a, b in zip(added[::2], added[1::2], strict=True)
        )
        median = statistics.median(row.cpu for row, _, _ in rows)
        lost = sum(row.lost for row, _, _ in rows)
        print(f"| {name} | {cpu} | {median:.1f} | {ratio:.2f} | {pairs} | {lost} |")


def main() -> None:
    """Run all loads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--nested", action="store_true", help="also the relay of nested.py")
    given = parser.parse_args()
    with rig.place() as place, proxies(place, nested=given.nested) as targets:
        names = list(targets)
        for streams, rate in LOADS:
            rounds = []
            for turn in range(given.rounds):
                order = names[turn % len(names) :] + names[: turn % len(names)]
                found = {}
                for name in order:
                    found[name] = row = measure(targets[name], streams, rate, given.seconds)
                    print(turn, name, row, file=sys.stderr)
                rounds.append({name: found[name] for name in names})
            report(streams, rate, rounds)
        if (activator := targets["activator"].process) is not None:
            print(f"\nactivator: VmHWM {activator.peak_memory():.1f} MiB")


if __name__ == "__main__":
    main()

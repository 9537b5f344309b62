"""How long an activation takes until the runner is asked: ours beside a ten-line one.

    python tests/bench/activation.py [--rounds 9]

Both are started by systemd-socket-activate, which waits in the place of systemd
and executes them at the first connection; the clock runs from the connection to
the moment in which a fake runner has the demand's first line.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import statistics
import time

import loadgen
import rig

# What no activator in Python can be faster than.
BARE = """
import os, socket
socket.socket(fileno=3).accept()
runner = socket.socket(socket.AF_UNIX)
runner.connect(os.environ["SPARK_RUN"] + "/runner/bench.sock")
runner.send(b"demand")
"""


def activate(place: rig.Place, runner: rig.FakeRunner, *command: str) -> float:
    """Milliseconds from connect to asked."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    systemd = shutil.which("systemd-socket-activate")
    assert systemd
    variables = [f"--setenv={name}={value}" for name, value in place.environ.items()]
    already = len(runner.asked)
    listen = (systemd, "-l", f"127.0.0.1:{port}", "--fdname=model", *variables)
    with rig.Process(*listen, *command) as process:
        # A connection would be the first client: look at the kernel's table instead.
        rig.wait_until(lambda: listens(port))
        before = time.monotonic_ns()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(loadgen.request(1, 0))
            rig.wait_until(lambda: len(runner.asked) > already)
        process.process.terminate()
    return (runner.asked[already] - before) / 1e6


def listens(port: int) -> bool:
    """Whether somebody listens on *port*, without connecting."""
    with contextlib.closing(open("/proc/net/tcp")) as table:
        rows = [row.split() for row in table]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows[1:])


def main() -> None:
    """Run both, in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    commands = {
        "activator": (rig.PYTHON, "-I", "-m", "spark_activator.activator", rig.NAME),
        "trio + h11": (rig.PYTHON, "-I", str(rig.HERE / "plain_activator.py")),
        "bare python": (rig.PYTHON, "-I", "-c", BARE),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with rig.place() as place:
        runner = place.runner()
        for turn in range(given.rounds + 1):
            names = list(commands)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                took = activate(place, runner, *commands[name])
                # The first round reads everything from the disk and does not count.
                if turn:
                    times[name].append(took)
    print("| activator | connect to runner asked, ms, each round | median | ratio |")
    print("|---|---|---|---|")
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, times["trio + h11"], strict=True))
        each = " ".join(f"{took:.0f}" for took in taken)
        print(f"| {name} | {each} | {statistics.median(taken):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()

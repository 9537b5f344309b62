#!/usr/bin/env python3
"""The tour of `./install.sh --demo`: one model from cold to answer to nothing running.

Runs below a systemd user manager, the user's own or a private one.  Every line
that it prints was observed: at systemd, in the process table and at the socket.
A step that was not observed ends the tour with 1 and the end of the units' output.

Only the standard library: this is an installer's file and not part of the package.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

NAME = "demo-echo"
KINDS = ("model", "runner", "engine", "reaper", "tcp")
# Short enough to be waited for, long enough for the second question.
IDLE = 4.0
# The ports of the owner's models, of which the tour takes a free one.
PORTS = range(18399, 18299, -1)
# A cold start of the demo engine takes seconds, also on a small machine.
COLD = 60.0
# Idle time, the engine's own end, and systemd noticing.
GONE = IDLE + 30.0


class NotObserved(Exception):
    """A step of the tour did not happen, or not as it should have."""


@dataclass(frozen=True)
class Process:
    """One line of the process table that belongs to the tour."""

    pid: int
    kind: str
    kib: int


@dataclass(frozen=True)
class Answer:
    """What came back for one question, and when."""

    text: str
    chunks: int
    first: float
    took: float


def say(label: str, text: str) -> None:
    """Print one line of the tour."""
    print(f"    {label:<12}{text}", flush=True)


class Tour:
    """The demo's files, units and observations.

    Args:
        source: The checkout.
        data: Where the code is installed, and where the demo keeps its files.
    """

    def __init__(self, source: Path, data: Path) -> None:
        self.source = source
        self.prefix = data / "current"
        self.home = data / "demo"
        self.runtime = Path(os.environ["XDG_RUNTIME_DIR"])
        self.run = self.runtime / "spark-activator"
        self.units = self.runtime / "systemd/user"
        self.written: list[Path] = []
        self.port = 0
        # Of the manager: processes of an installed system are not the tour's.
        self.cgroup = self.systemctl("show", "--property=ControlGroup", "--value").strip("/\n")

    # What is set up

    def set_up(self) -> None:
        """Write configuration and units, and have the socket listen."""
        if self.run.exists():
            raise NotObserved(f"'{self.run}' is there: another tour runs, or was killed")
        shutil.rmtree(self.home, ignore_errors=True)
        for name in ("config/models", "state", "share", "log"):
            (self.home / name).mkdir(parents=True)
        shutil.copytree(self.source / "models", self.home / "share/models")
        images = self.source / "images/images.yaml"
        if images.exists():
            shutil.copy(images, self.home / "share/images.yaml")
        self.port = free_port()
        (self.home / f"config/models/{NAME}.yaml").write_text(
            f"extends: {NAME}\nport: {self.port}\ntimeouts: {{idle: {IDLE:g}s}}\n"
        )
        self.make_directories()
        self.write_units()
        self.systemctl("daemon-reload")
        self.spark_model("apply")
        self.systemctl("daemon-reload")
        self.systemctl("start", f"spark-model@{NAME}.socket")

    def make_directories(self) -> None:
        """Make the directories that tmpfiles.d makes on a system, for us alone."""
        self.run.mkdir(mode=0o700)
        for line in (self.source / "units/spark-activator.tmpfiles.conf").read_text().splitlines():
            words = line.split()
            if words and words[0] == "d" and words[1].startswith("/run/spark-activator/"):
                (self.run / words[1].removeprefix("/run/spark-activator/")).mkdir(mode=0o700)

    def write_units(self) -> None:
        """Write the templates with the drop-ins for a user manager and this systemd."""
        templates = self.source / "units"
        version = int(re.findall(r"\d+", self.systemctl("--version"))[0])
        trees = [templates / "user"]
        trees += [
            tree for tree in templates.glob("v[0-9]*") if int(tree.name.lstrip("v")) <= version
        ]
        for kind in KINDS:
            for unit in templates.glob(f"spark-{kind}@.*"):
                self.write_unit(unit.name, unit.read_text())
            for tree in trees:
                for dropin in tree.glob(f"spark-{kind}@.*.d/*.conf"):
                    self.write_unit(f"{dropin.parent.name}/{dropin.name}", dropin.read_text())
            if (templates / f"spark-{kind}@.service").exists():
                # Without a journal a failure would be silent.
                log = self.home / f"log/{kind}.log"
                self.write_unit(
                    f"spark-{kind}@.service.d/90-demo.conf",
                    f"[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\n"
                    f"Environment=SPARK_CONFIG={self.home}/config SPARK_STATE={self.home}/state\n"
                    f"Environment=SPARK_RUN={self.run} SPARK_SHARE={self.home}/share\n",
                )

    def write_unit(self, name: str, text: str) -> None:
        """Write one file below the runtime directory, which ends with the tour."""
        path = self.units / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("@PREFIX@", str(self.prefix)))
        self.written.append(path)

    # What is done

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run `systemctl --user`."""
        return command(["systemctl", "--user", *arguments], check=check)

    def spark_model(self, *arguments: str) -> str:
        """Run the command line as a user would, with the tour's roots."""
        roots = {
            "SPARK_CONFIG": f"{self.home}/config",
            "SPARK_STATE": f"{self.home}/state",
            "SPARK_RUN": str(self.run),
            "SPARK_SHARE": f"{self.home}/share",
        }
        return command(
            [f"{self.prefix}/bin/spark-model", "--user", "--unit-dir", str(self.units), *arguments],
            env=os.environ | roots,
        )

    def ask(self, question: str) -> Answer:
        """Ask the model for a streamed answer, and follow it."""
        began = time.monotonic()
        first = 0.0
        texts = []
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=COLD)
        with contextlib.closing(connection):
            body = {
                "model": NAME,
                "stream": True,
                "max_tokens": 24,
                "messages": [{"role": "user", "content": question}],
            }
            connection.request(
                "POST",
                "/v1/chat/completions",
                json.dumps(body),
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            if response.status != 200:
                raise NotObserved(f"the answer is {response.status}: {response.read().decode()}")
            while line := response.readline():
                text = token(line)
                if text:
                    first = first or time.monotonic() - began
                    texts.append(text)
                if line.startswith(b"data: [DONE]"):
                    break
            else:
                raise NotObserved("the stream ended without its last line")
        return Answer("".join(texts), len(texts), first, time.monotonic() - began)

    # What is observed

    def processes(self) -> list[Process]:
        """Everything of the model that the process table and the cgroups know."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            # It may end while it is looked at.
            with contextlib.suppress(OSError):
                process = self.process(entry)
                if process is not None:
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def process(self, entry: Path) -> Process | None:
        """Say whether one entry of the process table is the tour's, and what it is."""
        status = (entry / "status").read_text()
        if re.search(r"^State:\s*Z", status, re.MULTILINE):
            return None
        resident = re.search(r"^VmRSS:\s*(\d+)", status, re.MULTILINE)
        kib = int(resident[1]) if resident else 0
        cgroup = (entry / "cgroup").read_text()
        for kind in KINDS:
            for line in cgroup.splitlines():
                path = line.partition("::")[2].strip("/")
                if path.startswith(self.cgroup) and f"/spark-{kind}@{NAME}.service" in f"/{path}/":
                    return Process(int(entry.name), kind, kib)
        # Somewhere else, which must not be, but then it has to be seen.
        program = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        if program[0].startswith(f"{self.prefix}/") and "-m" in program:
            return Process(int(entry.name), "astray", kib)
        return None

    def state(self, unit: str) -> str:
        """Say what systemd says about a unit."""
        return self.systemctl("is-active", unit, check=False).strip()

    def listens(self) -> bool:
        """Whether the kernel has a listener on our port; asking it wakes nobody."""
        needle = f"0100007F:{self.port:04X}"
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return any(row.split()[1] == needle and row.split()[3] == "0A" for row in rows)

    def expect(self, what: str, observed: Callable[[], bool], *, within: float = 0.0) -> None:
        """Wait until something is so.

        Raises:
            NotObserved: It was not, within that many seconds.
        """
        deadline = time.monotonic() + within
        while not observed():
            if time.monotonic() > deadline:
                raise NotObserved(f"not observed: {what}")
            pause(0.1)

    def expect_nothing_running(self, *, within: float) -> None:
        """Wait until systemd, process table and socket agree that only the socket is left."""
        for kind in ("model", "runner", "engine"):
            unit = f"spark-{kind}@{NAME}.service"
            self.expect(
                f"{unit} inactive",
                lambda unit=unit: self.state(unit) == "inactive",  # type: ignore[misc]
                within=within,
            )
        self.expect("no process of ours", lambda: not self.processes(), within=5)
        self.expect(f"a listener on port {self.port}", self.listens)
        self.expect(
            "an active socket", lambda: self.state(f"spark-model@{NAME}.socket") == "active"
        )

    # What is left behind

    def clean_up(self) -> None:
        """Stop everything, remove units and sockets, and look whether that is so."""
        units = [f"spark-model@{NAME}.socket"]
        units += [f"spark-{kind}@{NAME}.{suffix}" for kind in KINDS for suffix in ("service",)]
        units += [f"spark-{kind}@{NAME}.socket" for kind in ("runner", "engine", "tcp")]
        units += [f"spark-reaper@{NAME}.timer"]
        self.systemctl("stop", *units, check=False)
        self.systemctl("reset-failed", *units, check=False)
        for path in self.written:
            path.unlink(missing_ok=True)
        for path in (*{path.parent for path in self.written}, *self.units.glob("spark-*@*.d")):
            if path != self.units:
                shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.units.rmdir()
        self.systemctl("daemon-reload", check=False)
        shutil.rmtree(self.run, ignore_errors=True)
        self.expect("no process of ours", lambda: not self.processes(), within=5)
        self.expect("no listener of ours", lambda: not self.listens(), within=5)
        loaded = self.systemctl(
            "list-units", "--all", "--plain", "--no-legend", f"spark-*@{NAME}.*"
        )
        if loaded.strip() or self.run.exists():
            raise NotObserved(f"left behind: {loaded.strip() or self.run}")

    def print_logs(self) -> None:
        """Show the end of what the units printed, for a person to see why."""
        for log in sorted(self.home.glob("log/*.log")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            if lines:
                print(f"--- {log}", *lines, sep="\n", file=sys.stderr)
        status = self.systemctl(
            "--no-pager", "--full", "--lines=0", "status", f"spark-*@{NAME}.*", check=False
        )
        print("--- systemctl --user status", status, sep="\n", file=sys.stderr)


def token(line: bytes) -> str:
    """Take the text out of one line of a stream."""
    if not line.startswith(b"data: {"):
        return ""
    event = json.loads(line.removeprefix(b"data: "))
    if "error" in event:
        raise NotObserved(f"the stream has an error: {event['error']}")
    choices = event.get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")


def free_port() -> int:
    """Find a port of the owner's range that nobody has."""
    for port in PORTS:
        with contextlib.closing(socket.socket()) as probe:
            # Not taken by a connection that only lingers.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise NotObserved(f"no free port from {PORTS[-1]} to {PORTS[0]}")


def command(words: list[str], *, check: bool = True, env: dict[str, str] | None = None) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env
    )
    if check and done.returncode != 0:
        raise NotObserved(f"failed: {' '.join(words)}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def pause(seconds: float) -> None:
    """Wait between two looks at something that sends no event; a signal ends it."""
    signal.sigtimedwait([], seconds)


def mib(processes: list[Process]) -> str:
    """Add up resident memory."""
    return f"{sum(process.kib for process in processes) / 1024:.0f} MiB"


def names(processes: list[Process]) -> str:
    """Name processes as architecture.md does."""
    words = {"model": "activator"}
    return ", ".join(f"{words.get(p.kind, p.kind)} {p.pid}" for p in processes)


def show(tour: Tour) -> None:
    """Go through the tour, step by step."""
    tour.expect_nothing_running(within=5)
    say("listening", f"127.0.0.1:{tour.port}: systemd has the socket, no process of ours runs")

    cold = tour.ask("What are you?")
    running = tour.processes()
    kinds = {process.kind for process in running}
    if not {"model", "runner", "engine"} <= kinds:
        raise NotObserved(f"activator, runner and engine, found: {names(running) or 'nothing'}")
    for kind in ("model", "runner", "engine"):
        tour.expect(
            f"spark-{kind}@{NAME}.service active",
            lambda kind=kind: tour.state(f"spark-{kind}@{NAME}.service") == "active",  # type: ignore[misc]
        )
    say("cold start", f"{cold.first:.1f} s from the connection to the first token")
    say("running", f"{names(running)} ({mib(running)})")
    if cold.chunks < 2:
        raise NotObserved(f"a stream, got {cold.chunks} piece of text")
    say(
        "streamed", f"{cold.chunks} pieces in {cold.took - cold.first:.1f} s: {cold.text.strip()!r}"
    )

    warm = tour.ask("And again?")
    if warm.first >= cold.first:
        raise NotObserved(f"a warm answer: it took {warm.first:.2f} s to its first token")
    again = tour.processes()
    if {p.pid for p in again} - {p.pid for p in running}:
        raise NotObserved(f"the same processes, found: {names(again)}")
    say("warm", f"{warm.first * 1000:.0f} ms to the first token, by the same processes")

    began = time.monotonic()
    tour.expect_nothing_running(within=GONE)
    say(
        "idle exit",
        f"{time.monotonic() - began:.1f} s later activator, runner and engine have left",
    )
    say("nothing", "no process of ours runs, and systemd listens again")


def stay(tour: Tour) -> None:
    """Leave it running until a signal comes."""
    print(f"""
    Try it:   curl -N http://127.0.0.1:{tour.port}/v1/chat/completions \\
                -d '{{"stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    Ctrl-C ends it.""", flush=True)  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    print(flush=True)


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Turn signals into an exception here, so that cleaning up always happens."""

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        yield
    finally:
        # The second Ctrl-C must not prevent it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def main() -> int:
    """Run the tour and say its exit status."""
    parser = argparse.ArgumentParser(description="The tour of ./install.sh --demo")
    parser.add_argument("source", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    status = 1
    tour = Tour(options.source, options.data)
    try:
        with signals_wait():
            tour.set_up()
            show(tour)
            status = 0
            if not options.once:
                stay(tour)
    except NotObserved as error:
        print(f"demo: {error}", file=sys.stderr)
        tour.print_logs()
    except KeyboardInterrupt:
        print("demo: ended by a signal", file=sys.stderr)
    try:
        tour.clean_up()
    except NotObserved as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    say("ended", "no process, unit or socket of the tour is left")
    return status


if __name__ == "__main__":
    sys.exit(main())

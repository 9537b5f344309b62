"""What the benchmarks share: processes under the conditions of their units, and their counters."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spark_activator.catalog import frozen
from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.layout import Layout
from spark_activator.protocol import Ready
from spark_activator.protocol_json import encode

HERE = Path(__file__).parent
PYTHON = sys.executable
NAME = "bench"
ACTIVATION = "0badcafe"


class Process:
    """A process of ours, measured; killed at the end of its block."""

    def __init__(self, *command: str, pass_fds: tuple[int, ...] = (), **environ: str) -> None:
        self.process = subprocess.Popen(
            command,
            pass_fds=pass_fds,
            env={"PATH": os.environ["PATH"], **environ},
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL,
            text=True,
        )
        self.pid = self.process.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def line(self) -> str:
        """Wait for its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def cpu(self) -> int:
        """Nanoseconds of CPU that all its threads have used."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def peak_memory(self) -> float:
        """VmHWM in MiB."""
        for row in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if row.startswith("VmHWM"):
                return int(row.split()[1]) / 1024
        raise AssertionError


def listen() -> socket.socket:
    """Make what the socket units make."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    # DeferAcceptSec= and NoDelay= of units/spark-model@.socket.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def activated(listener: socket.socket, name: str, *command: str, **environ: str) -> Process:
    """Start *command* as systemd would for a client of *listener*."""
    # Descriptors as LimitNOFILE= grants them.  LISTEN_PID is the shell's, which becomes
    # the command; descriptor 3 is the listener.
    fd = listener.fileno()
    shift = f"ulimit -n $(ulimit -Hn); exec 3<&{fd}; export LISTEN_PID=$$; exec " + '"$@"'
    return Process(
        "/bin/bash", "-c", shift, "bash", *command,
        pass_fds=(fd,), LISTEN_FDS="1", LISTEN_FDNAMES=name, **environ,
    )  # fmt: skip


class FakeRunner:
    """Says `ready` to each demand after *delay* seconds, and remembers when it was asked."""

    def __init__(self, path: Path, delay: float = 0.0) -> None:
        self.asked: list[int] = []
        self.ready_at = 0.0
        self.delay = delay
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            conversation, _ = self._listener.accept()
            conversation.recv(8192)
            self.asked.append(time.monotonic_ns())
            threading.Thread(target=self._answer, args=(conversation,), daemon=True).start()

    def _answer(self, conversation: socket.socket) -> None:
        threading.Event().wait(self.delay)
        with contextlib.suppress(OSError), conversation:
            self.ready_at = time.monotonic()
            conversation.sendall(encode(Ready(ACTIVATION)))
            while conversation.recv(8192):
                pass


class Place:
    """Roots in a temporary directory, with one frozen model."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root / "config", root / "state", root / "run", root / "share")
        self.environ = {"SPARK_CONFIG": str(self.layout.config), "SPARK_RUN": str(self.layout.run)}
        model = Model(
            name=NAME, port=18100, engine=Engine.PROCESS, source=Source(NAME), memory=1 << 30
        )
        self.layout.frozen(NAME).parent.mkdir(parents=True)
        self.layout.frozen(NAME).write_text(frozen.dump(model))
        directory = self.layout.upstream(NAME) / ACTIVATION
        directory.mkdir(parents=True)
        self.engine_socket = directory / "engine.sock"

    def runner(self, delay: float = 0.0) -> FakeRunner:
        """Start the fake runner."""
        return FakeRunner(self.layout.runner_socket(NAME), delay)

    def engine(self) -> Process:
        """Start the sender and wait until it listens."""
        engine = Process(PYTHON, "-I", str(HERE / "engine.py"), str(self.engine_socket))
        wait_until(self.engine_socket.exists)
        return engine

    def activator(self, listener: socket.socket, *, nested: bool = False) -> Process:
        """Start ours, as its unit does; *nested* takes the relay of `nested.py`."""
        module = (str(HERE / "nested.py"),) if nested else ("-m", "spark_activator.activator")
        return activated(listener, "model", PYTHON, "-I", *module, NAME, **self.environ)


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """Make a `Place` for the duration of the block."""
    root = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield Place(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def wait_until(condition: Callable[[], bool], limit: float = 10.0) -> None:
    """Wait for what nobody tells us about."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.005)


def answers(port: int) -> bool:
    """Whether somebody listens on *port*."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def load(target: str | int, *arguments: str | float) -> Process:
    """Start `loadgen`."""
    return Process(
        PYTHON, "-I", str(HERE / "loadgen.py"), str(target), *(str(item) for item in arguments)
    )


def result(process: Process) -> dict[str, Any]:
    """Read the result of a `load`."""
    with process:
        last = process.line()
        assert last.startswith("{"), f"no result: {last!r}"
        return json.loads(last)

"""Everything but systemd, on this machine: nginx, activators, runners, supervisors, demo engines.

All of them are the real processes; `runner_world.Unit` does what systemd does for
them.  Clients talk to nginx on a port of the loopback.
"""

from __future__ import annotations

import importlib.util
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from runner_world import Unit, World, opened, process_model

from spark_activator.catalog.model import Model, Timeouts
from spark_activator.render.routes import routes

ROOT = Path(__file__).parents[2]
# What an engine of tests holds; all models fit together.
BUDGET = 1 << 30


def _nginx() -> ModuleType:
    # It is a conftest: pytest imports those by itself, under names of its own.
    file = ROOT / "tests/integration/nginx/conftest.py"
    spec = importlib.util.spec_from_file_location("nginx_process", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up.
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Port(Unit):
    """A model's port and its activator."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(
            world, "spark_activator.activator", "model", world.root / f"port-{name}", name
        )
        self._listener.close()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self._listener.getsockname()[1]


@dataclass(frozen=True, slots=True)
class Event:
    """A line of an engine's log.

    Attributes:
        at: When it was read, by the wall clock.
    """

    at: float
    line: str


class Front:
    """The whole stack; `url` is what a client is configured with."""

    def __init__(self, world: World, nginx: Any) -> None:
        self.world = world
        self.nginx = nginx
        self.url = f"http://127.0.0.1:{nginx.port}"
        self.ports: dict[str, Port] = {}
        self._models: dict[str, Model] = {}

    def serve(self, name: str, *options: str, start: float = 60, **changes: Any) -> Model:
        """Have the demo engine under *name* behind nginx, not started yet."""
        model = process_model(name, *options)
        timeouts = Timeouts(idle=120, stall=60, start=start, drain=5)
        port = Port(self.world, name)
        model = replace(model, port=port.port, timeouts=timeouts, **changes)
        # What the engine's frozen file says is read by both processes.
        self.world.runner(model)
        port.start()
        self.ports[name] = port
        self._models[name] = model
        self.nginx.routes.write_text(routes(self._models.values(), list(self._models)))
        return model

    def engine(self, name: str, path: str) -> str:
        """Ask the engine of *name* itself, behind everybody's back; empty without one."""
        for directory in self.world.layout.upstream(name).glob("*"):
            with socket.socket(socket.AF_UNIX) as sock:
                try:
                    sock.connect(str(directory / "engine.sock"))
                except OSError:
                    continue
                sock.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n".encode()
                )
                return b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        return ""

    def running(self, name: str) -> float:
        """How many requests the engine of *name* works on."""
        return self._metric(name, "num_requests_running")

    def aborted(self, name: str) -> float:
        """How many of its clients left before their end."""
        found = re.search(r'finished_reason="abort"} (\S+)', self.engine(name, "/metrics"))
        return float(found[1]) if found else 0

    def starts(self, name: str) -> int:
        """How many engines were started for *name*."""
        return self.log(name).count("Demo engine, serving")

    def log(self, name: str) -> str:
        """What was logged for *name*: activator, runner and engine."""
        files = self.world.root.glob(f"*-{name}.log")
        return "\n".join(file.read_text() for file in files)

    @contextmanager
    def runner_away(self, name: str) -> Iterator[Callable[[], None]]:
        """Nobody listens for activators of *name*, until what this gives is called."""
        path = self.world.layout.runner_socket(name)
        aside = path.with_suffix(".away")
        path.rename(aside)

        def come_back() -> None:
            if aside.exists():
                aside.rename(path)

        try:
            yield come_back
        finally:
            come_back()

    def _metric(self, name: str, metric: str) -> float:
        found = re.search(rf"vllm:{metric}{{\S* (\S+)", self.engine(name, "/metrics"))
        return float(found[1]) if found else 0


@contextmanager
def front(root: Path) -> Iterator[Front]:
    """Have it below *root*, whose name has to be short."""
    with opened(root) as world:
        world.share(replace(world.host, budget=BUDGET, pace=0.01))
        directory = root / "nginx"
        directory.mkdir()
        with _nginx().Nginx(directory).running() as nginx:
            stack = Front(world, nginx)
            try:
                yield stack
            finally:
                for port in stack.ports.values():
                    port.stop()

"""Everything but systemd, on this machine: nginx, activators, runners, supervisors, demo engines.

All of them are the real processes; `runner_world.Unit` does what systemd does for
them.  Clients talk to nginx on a port of the loopback.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ports import free_port
from runner_world import Unit, World, opened, process_model, until

from spark_activator.catalog.model import Model, Timeouts
from spark_activator.render.routes import routes

UNITS = Path(__file__).parents[2] / "units/nginx"
# What an engine of tests holds; all models fit together.
BUDGET = 1 << 30


class Nginx:
    """nginx with the configuration of spark-nginx.service, on the world's directories."""

    def __init__(self, world: World) -> None:
        self.port = free_port()
        layout = world.layout
        share, temporary = layout.share / "nginx", world.root / "nginx-temp"
        for directory in (share, temporary, layout.config, layout.state, layout.run / "nginx"):
            directory.mkdir(parents=True, exist_ok=True)
        settings = {
            "SHARE": share,
            "CONFIG": layout.config,
            "RUN": layout.run,
            "STATE": layout.state,
            "TEMP": temporary,
            "PORT": self.port,
            # Without it root's workers are nobody's, who may not look into our directories.
            "USER": "user root;" if os.geteuid() == 0 else "",
        }
        for file in UNITS.iterdir():
            filled = re.sub(r"@([A-Z]+)@", lambda found: str(settings[found[1]]), file.read_text())
            (share / file.name).write_text(filled)
        self.log = world.root / "nginx.log"
        command = [
            shutil.which("nginx") or "/usr/sbin/nginx",
            "-e", "stderr", "-c", str(share / "nginx.conf"), "-g", "daemon off;",
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log)
        until(self._listens, limit=60, what="nginx does not listen")

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


class Port(Unit):
    """A model's port and its activator."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(
            world, "spark_activator.activator", "model", world.root / f"port-{name}", name
        )
        self._listener.close()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self._listener.getsockname()[1]


class Front:
    """The whole stack; `url` is what a client is configured with."""

    def __init__(self, world: World, nginx: Nginx) -> None:
        self.world = world
        self.url = f"http://127.0.0.1:{nginx.port}"
        self.ports: dict[str, Port] = {}
        self._models: dict[str, Model] = {}

    def serve(self, name: str, *options: str, load: float = 2, **changes: Any) -> Model:
        """Have the demo engine under *name* behind nginx, not started; it loads for *load* s."""
        model = process_model(name, "--load-time", str(load), *options)
        timeouts = Timeouts(idle=300, stall=60 + load, start=60 + 4 * load, drain=5)
        port = Port(self.world, name)
        model = replace(model, port=port.port, timeouts=timeouts, **changes)
        # What the engine's frozen file says is read by both processes.
        self.world.runner(model)
        port.start()
        self.ports[name] = port
        self._models[name] = model
        list_of_models = routes(self._models.values(), list(self._models))
        beside = self.world.layout.routes_file.with_suffix(".new")
        beside.write_text(list_of_models)
        beside.replace(self.world.layout.routes_file)
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

    def engine_log(self, name: str) -> list[str]:
        """What the engine of *name* printed."""
        return (self.world.root / f"engine-{name}.log").read_text().splitlines()

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
        nginx = Nginx(world)
        stack = Front(world, nginx)
        try:
            yield stack
        finally:
            nginx.close()
            for port in stack.ports.values():
                port.stop()

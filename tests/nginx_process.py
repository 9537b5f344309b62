"""A real nginx of our own configuration, as spark-nginx.service runs it."""

import contextlib
import http.client
import json
import os
import resource
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ports import free_port

from spark_activator.render.routes import lines
from spark_activator.state import Phase, State

UNITS = Path(__file__).parents[1] / "units/nginx"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
# Long enough for a loaded machine; nothing that works takes as long.
PATIENCE = 60.0


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def error(self) -> dict:
        """The error object, after checking that it is OpenAI's."""
        assert self.headers["Content-Type"] == "application/json", self
        assert set(self.json) == {"error"}, self
        assert set(self.json["error"]) == {"message", "type", "param", "code"}, self
        return self.json["error"]


class Nginx:
    """One nginx process below *directory*, as spark-nginx.service runs it."""

    def __init__(self, directory: Path, *, configuration: str | None = None) -> None:
        self.directory = directory
        self.port = free_port()
        self.run = directory / "run"
        self.routes = self.run / "nginx/routes.json"
        self.routes.parent.mkdir(parents=True)
        (directory / "temp").mkdir()
        self.log = directory / "error.log"
        self.config = directory / "config"
        self.config.mkdir()
        self.states = self.run / "state"
        self.states.mkdir()
        self.history = directory / "state/history"
        self.history.mkdir(parents=True)
        self.settings = {
            "@SHARE@": str(directory / "share"),
            "@RUN@": str(self.run),
            "@CONFIG@": str(self.config),
            "@STATE@": str(directory / "state"),
            "@TEMP@": str(directory / "temp"),
            "@PORT@": str(self.port),
            # Without it root's workers are nobody's, who may not look into pytest's directories.
            "@USER@": "user root;" if os.geteuid() == 0 else "",
        }
        (directory / "share").mkdir()
        for file in UNITS.iterdir():
            (directory / "share" / file.name).write_text(self.filled(file.read_text()))
        self.conf = directory / "share/nginx.conf"
        if configuration is not None:
            self.conf.write_text(self.filled(configuration))

    def filled(self, text: str) -> str:
        for placeholder, value in self.settings.items():
            text = text.replace(placeholder, value)
        return text

    def command(self, *more: str) -> list[str]:
        return [NGINX, "-e", "stderr", "-c", str(self.conf), *more]

    def test(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command("-t", "-q"), capture_output=True, text=True)

    @contextlib.contextmanager
    def running(self) -> Iterator["Nginx"]:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command("-g", "daemon off;"), stderr=log, preexec_fn=as_the_unit
            )
        try:
            self._wait()
            yield self
        finally:
            self.process.terminate()
            self.process.wait(PATIENCE)

    def _wait(self) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE / 0.02)):
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            pause.wait(0.02)
        raise AssertionError(self.log.read_text())

    def route(self, models: dict[str, dict], **settings: object) -> None:
        """Write the list as spark-models.service does: a new file in the old one's place."""
        new = self.routes.with_suffix(".new")
        new.write_text(lines(models, settings))
        new.replace(self.routes)

    def show(self, name: str, phase: str, **values: object) -> None:
        """Write the state of *name* as its runner does, since a second ago."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME) - 1
        values = {"since": now, **values}
        (self.states / f"{name}.json").write_text(State(name, Phase(phase), **values).to_json())

    def forget(self) -> None:
        """Undo what tests say of keys, hosts and states."""
        for file in (*self.states.iterdir(), *self.history.iterdir(), *self.config.iterdir()):
            file.unlink()

    def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Ask once; *body* is bytes, or a value that becomes JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers.items()), response.read())
        finally:
            connection.close()

    def say(self, data: bytes) -> bytes:
        """Send *data* as it is, and read to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as client:
            client.sendall(data)
            return b"".join(iter(lambda: client.recv(65536), b""))


def as_the_unit() -> None:
    """Have descriptors as LimitNOFILE= of the unit gives them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def entry(
    name: str,
    port: int,
    *more: str,
    enabled: bool = True,
    context: int = 4096,
    chat: bool = True,
    **values: object,
) -> dict:
    """One model of the list."""
    return {
        "port": port,
        "enabled": enabled,
        "names": [name, *more],
        "context": context,
        "chat": chat,
        "created": 0,
        **values,
    }

"""A machine in a directory: the four roots, a place for units, and no systemd to ask."""

import contextlib
import dataclasses
import http.server
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spark_activator.catalog import frozen
from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.cli.main import main
from spark_activator.layout import Layout


@dataclasses.dataclass
class Machine:
    """What the command line sees, and a way to type at it."""

    layout: Layout
    units: Path

    def run(self, *arguments: str) -> int:
        return main(["--user", "--unit-dir", str(self.units), *arguments])

    @contextlib.contextmanager
    def serving(
        self, name: str, handler: type[http.server.BaseHTTPRequestHandler], **values: object
    ) -> Iterator[http.server.ThreadingHTTPServer]:
        """Switch on a model that *handler* answers for."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.freeze(name, port=server.server_address[1], **values)
        (self.layout.markers / name).touch()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def freeze(self, name: str, **values: object) -> Model:
        given = {"port": 18100, "engine": Engine.VLLM, "source": Source("a/b"), "memory": 1 << 30}
        model = Model(name=name, **given | values)
        path = self.layout.frozen(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(frozen.dump(model))
        return model

    def model_file(self, name: str, **values: object) -> Path:
        """Write a file of the owner's: a process, so that it needs no image."""
        given = {
            "engine": "process",
            "command": ["engine", "--socket", "{socket}"],
            "source": {"model": "a/b"},
            "memory": "1GiB",
            "port": 18300,
        }
        path = self.layout.owner_models / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key}: {value}\n" for key, value in (given | values).items()))
        return path

    def enable(self, name: str) -> None:
        link = self.units / f"sockets.target.wants/spark-model@{name}.socket"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("/usr/lib/systemd/system/spark-model@.socket")

    def files(self) -> dict[str, tuple[int, str]]:
        """Say when each file was written, and what is in it."""
        root = self.units.parent
        return {
            str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_text())
            for path in root.rglob("*")
            if path.is_file() and not path.is_symlink()
        }


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return make(tmp_path, monkeypatch)


@pytest.fixture
def open_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """One that every user can reach: pytest's own directories are private."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield make(Path(directory), monkeypatch)


def make(root: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    roots = {name: root / name for name in ("config", "state", "run", "share")}
    for name, path in roots.items():
        path.mkdir()
        monkeypatch.setenv(f"SPARK_{name.upper()}", str(path))
    # A manager of whoever runs the tests must not be asked.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(root / "nowhere"))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    layout = Layout.from_environment(os.environ)
    layout.markers.mkdir()
    return Machine(layout, root / "units")


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Take what was printed since the last time."""
    return lambda: capsys.readouterr().out

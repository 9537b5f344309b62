"""The tour's model: its files and units, how it is asked, and how it is taken away."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from manager import KINDS, NAME, NotObserved, command, expect, listens, processes, systemctl, unit

# Short enough to be waited for, long enough for the second question.
IDLE = 4.0
# The ports of the owner's models, of which the tour takes a free one.
PORTS = range(18399, 18299, -1)
# A cold start of the demo engine takes seconds, also on a small machine.
COLD = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back for one question, and when."""

    text: str
    pieces: int
    first: float
    took: float


class Model:
    """A model of the tour's own, below the user's manager.

    Args:
        source: The checkout.
        data: Where the code is installed, and where the tour keeps its files.
    """

    def __init__(self, source: Path, data: Path) -> None:
        self.source = source
        self.prefix = data / "current"
        self.home = data / "demo"
        runtime = Path(os.environ["XDG_RUNTIME_DIR"])
        self.run = runtime / "spark-activator"
        # systemd forgets what lies here when the user logs out; we remove it before.
        self.units = runtime / "systemd/user"
        self.port = 0
        self.ours = False
        self.roots = {
            "SPARK_CONFIG": f"{self.home}/config",
            "SPARK_STATE": f"{self.home}/state",
            "SPARK_RUN": str(self.run),
            "SPARK_SHARE": f"{self.home}/share",
        }

    def set_up(self) -> None:
        """Write configuration and units, and have the socket listen."""
        try:
            self.run.mkdir(mode=0o700)
        except FileExistsError:
            raise NotObserved(
                f"'{self.run}' is there: another tour runs, or was killed (then remove it)"
            ) from None
        self.ours = True
        self._make_directories()
        self._write_model()
        self._write_units()
        systemctl("daemon-reload")
        self._apply()
        systemctl("daemon-reload")
        systemctl("start", unit("model", "socket"))

    def _make_directories(self) -> None:
        # Those that tmpfiles.d makes on a system, for us alone.
        for line in (self.source / "units/spark-activator.tmpfiles.conf").read_text().splitlines():
            words = line.split()
            if words and words[0] == "d" and words[1].startswith("/run/spark-activator/"):
                (self.run / words[1].removeprefix("/run/spark-activator/")).mkdir(mode=0o700)
        shutil.rmtree(self.home, ignore_errors=True)
        for name in ("config/models", "state", "share/models", "log"):
            (self.home / name).mkdir(parents=True)

    def _write_model(self) -> None:
        for path in (f"models/{NAME}.yaml", "images/images.yaml"):
            target = path.removeprefix("images/")
            shutil.copy(self.source / path, self.home / "share" / target)
        self.port = free_port()
        (self.home / f"config/models/{NAME}.yaml").write_text(
            f"extends: {NAME}\nport: {self.port}\ntimeouts: {{idle: {IDLE:g}s}}\n"
        )

    def _write_units(self) -> None:
        templates = self.source / "units"
        version = int(re.findall(r"\d+", systemctl("--version"))[0])
        newer = (tree for tree in templates.glob("v[0-9]*") if int(tree.name[1:]) > version)
        unknown = {tree.name for tree in newer}
        for kind in KINDS:
            files = [*templates.glob(f"spark-{kind}@.*"), *templates.glob(f"user/spark-{kind}@*/*")]
            files += templates.glob(f"v[0-9]*/spark-{kind}@*/*")
            for file in files:
                parts = file.relative_to(templates).parts
                if parts[0] in unknown:
                    continue
                name = Path(*parts[1:]) if len(parts) > 1 else Path(parts[0])
                self._write_unit(name, file.read_text().replace("@PREFIX@", str(self.prefix)))
            # Without a journal a failure would be silent.
            log = f"append:{self.home}/log/{kind}.log"
            roots = " ".join(f"{key}={value}" for key, value in self.roots.items())
            self._write_unit(
                Path(f"spark-{kind}@.service.d/90-demo.conf"),
                f"[Service]\nEnvironment={roots}\nStandardOutput={log}\nStandardError={log}\n",
            )

    def _write_unit(self, name: Path, text: str) -> None:
        path = self.units / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _apply(self) -> None:
        program = f"{self.prefix}/bin/spark-model"
        command(
            [program, "--user", "--unit-dir", str(self.units), "apply"], env=os.environ | self.roots
        )

    def ask(self, question: str) -> Answer:
        """Ask for a streamed answer, and follow it to its end."""
        try:
            return self._ask(question)
        except (OSError, http.client.HTTPException) as error:
            raise NotObserved(f"no answer from 127.0.0.1:{self.port}: {error}") from error

    def _ask(self, question: str) -> Answer:
        began = time.monotonic()
        first = 0.0
        texts: list[str] = []
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=COLD)
        with contextlib.closing(connection):
            messages = [{"role": "user", "content": question}]
            body = {"model": NAME, "stream": True, "max_tokens": 24, "messages": messages}
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise NotObserved(f"the answer is {response.status}: {response.read().decode()}")
            for line in response:
                if line.startswith(b"data: [DONE]"):
                    return Answer("".join(texts), len(texts), first, time.monotonic() - began)
                text = token(line)
                if text:
                    first = first or time.monotonic() - began
                    texts.append(text)
        raise NotObserved("the stream ended without its last line")

    def take_away(self) -> None:
        """Stop everything, remove units and sockets, and look whether that is so."""
        if not self.ours:
            return
        names = [unit(kind, suffix) for kind in KINDS for suffix in ("socket", "service", "timer")]
        systemctl("stop", *names, check=False)
        systemctl("reset-failed", *names, check=False)
        for kind in KINDS:
            for path in self.units.glob(f"spark-{kind}@*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):
            self.units.rmdir()
        systemctl("daemon-reload", check=False)
        shutil.rmtree(self.run)
        expect("no process of ours", lambda: not processes(self.prefix), within=5)
        expect("no listener of ours", lambda: not listens(self.port), within=5)
        loaded = systemctl("list-units", "--all", "--plain", "--no-legend", f"spark-*@{NAME}.*")
        if loaded.strip():
            raise NotObserved(f"left behind: {loaded.strip()}")

    def last_words(self) -> str:
        """The end of what the units printed, for a person to see why."""
        texts = []
        for log in sorted(self.home.glob("log/*.log")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            if lines:
                texts += [f"--- {log}", *lines]
        listing = systemctl(
            "--no-pager", "--full", "--lines=0", "status", f"spark-*@{NAME}.*", check=False
        )
        return "\n".join([*texts, "--- systemctl --user status", listing])


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

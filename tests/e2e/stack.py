"""What a person does with an installed node: write a model file, enable it, ask it, look at it."""

from __future__ import annotations

import json
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node import PATIENCE, CommandFailed, Node, Result

CLIENT = "/root/client.py"
OWN_MEMORY = "/root/own_memory.py"
# Stands in for `/proc` where runners look how much memory there is.
PROC = "/run/spark-test-proc"
FRONT = "http://127.0.0.1:8009/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Demo:
    """One model file of the demo engine in a container, with quick timeouts.

    Attributes:
        options: Of the demo engine, beyond its name and socket.
        idle: Seconds; short, so that a test sees the idle exit.
    """

    name: str
    port: int
    options: tuple[str, ...] = ()
    idle: float = 5
    drain: float = 20
    extra: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Return the model file."""
        body: dict[str, Any] = {
            "summary": f"the demo engine as {self.name}",
            "source": {"model": "spark-activator/demo"},
            "engine": "container",
            "image": "spark-demo",
            "port": self.port,
            "memory": "256MiB",
            "timeouts": {"idle": f"{self.idle}s", "drain": f"{self.drain}s"},
            "args": ["--socket", "{socket}", "--served-model-name", self.name, *self.options],
        }
        return json.dumps(body | self.extra, indent=1) + "\n"  # JSON is YAML

    @property
    def url(self) -> str:
        """The model's own port."""
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    @property
    def by_path(self) -> str:
        """The model through nginx, by path."""
        return f"http://127.0.0.1:8009/v1/{self.name}/chat/completions"


class Stack:
    """A node with the project installed."""

    def __init__(self, node: Node) -> None:
        self.node = node
        node.put(Path(__file__).with_name("client.py"), CLIENT)
        if node.exec(f"test -e {PROC}/meminfo", check=False).rc != 0:
            self._have_memory_of_its_own()

    def _have_memory_of_its_own(self) -> None:
        """Have runners see what the node's engines take, and not what the machine's others do."""
        self.node.put(Path(__file__).with_name("own_memory.py"), OWN_MEMORY)
        for unit in ("spark-runner@", "spark-lease@"):
            file = f"/run/systemd/system/{unit}.service.d/own-memory.conf"
            self.node.write(file, f"[Service]\nEnvironment=SPARK_PROC={PROC}\n")
        self.node.exec("systemctl daemon-reload")
        self.node.exec(f"systemd-run --unit=spark-test-memory python3 {OWN_MEMORY} {PROC}")
        self.node.wait(f"test -e {PROC}/meminfo")

    @contextmanager
    def enabled(self, *models: Demo) -> Iterator[None]:
        """Have these models written, applied and enabled; away again at the end."""
        for model in models:
            self.node.write(f"/etc/spark-activator/models/{model.name}.yaml", model.text())
        self.node.exec("spark-model check && spark-model apply")
        sockets = " ".join(f"spark-model@{model.name}.socket" for model in models)
        self.node.exec(f"systemctl enable --now {sockets}")
        try:
            yield
        finally:
            self.node.exec(f"systemctl disable --now {sockets}", timeout=180)
            for model in models:
                self.node.exec(f"rm /etc/spark-activator/models/{model.name}.yaml")
            self.node.exec("spark-model apply")

    @contextmanager
    def sharing(self, budget: str = "256MiB", **more: str | list[str]) -> Iterator[None]:
        """Have the host settings say how the GPU is shared; the defaults again at the end.

        With the default budget one `Demo` fits.  What takes minutes takes moments:
        an idle model goes within a second, a busy one after some.
        """
        body = {"budget": budget, "pace": "0.01", **more}
        self.node.write("/etc/spark-activator/host.yaml", json.dumps(body) + "\n")
        self.node.exec("spark-model check && spark-model apply")
        try:
            yield
        finally:
            self.node.exec("rm /etc/spark-activator/host.yaml && spark-model apply")

    def ask(
        self, url: str, model: str, *options: str, timeout: float = 120
    ) -> list[dict[str, Any]]:
        """Send requests by the client inside, and return how each ended."""
        command = shlex.join(["python3", CLIENT, url, model, *options])
        return parse(self.node.exec(command, timeout=timeout).out)

    def asking(self, url: str, model: str, *options: str) -> subprocess.Popen[bytes]:
        """Start the client and leave it running; see `finish` and `wait_for_stream`."""
        return self.node.start(shlex.join(["python3", CLIENT, url, model, "--tell", *options]))

    @contextmanager
    def meanwhile(self, command: str) -> Iterator[None]:
        """Run a shell command inside over and over, for the duration of the block."""
        goes_on = f"/run/spark-test-{uuid.uuid4().hex[:8]}"
        self.node.exec(f"touch {goes_on}")
        # Ended by a file: a command inside does not end with the process that asked for it.
        running = self.node.start(f"while [ -e {goes_on} ]; do {command}\nsleep 0.1; done")
        try:
            yield
        finally:
            self.node.exec(f"rm {goes_on}")
            running.communicate(timeout=PATIENCE)

    def state(self, name: str) -> dict[str, Any]:
        """The state that `spark-model status NAME --json` tells; empty without a runner."""
        told = json.loads(self.node.exec(f"spark-model status {name} --json").out)
        return told["state"] or {}

    def wait_for_phase(self, name: str, phase: str, timeout: float = PATIENCE) -> None:
        """Wait until the model's state file says *phase*."""
        file = f"/run/spark-activator/state/{name}.json"
        self.node.wait(f'grep -q \'"phase": *"{phase}"\' {file}', timeout=timeout)

    def wait_for_nothing(self, *names: str, timeout: float = PATIENCE) -> None:
        """Wait until no process and no container of these models is left, and all listen."""
        for name in names:
            self.node.wait(nothing(name), timeout=timeout)

    @contextmanager
    def nothing_wakes(self, *names: str) -> Iterator[None]:
        """See that models of which nothing is left stay so, not for a moment started."""
        units = [f"spark-{kind}@{name}.service" for name in names for kind in ("model", "runner")]
        last = f"systemctl show -P ActiveEnterTimestampMonotonic {' '.join(units)}"
        self.wait_for_nothing(*names)
        before = self.node.exec(last).out
        yield
        for name in names:
            self.node.exec(nothing(name))
        assert self.node.exec(last).out == before

    def containers(self, name: str) -> list[str]:
        """The ids of all containers of this model, running or not."""
        return self.node.exec(containers(name)).out.split()

    def wait_for_no_container(self, name: str) -> None:
        """Wait until there is no container of this model."""
        self.node.wait(f'[ -z "$({containers(name)})" ]')

    def main_pid(self, unit: str) -> int:
        """The main process of a unit, 0 when there is none."""
        return int(self.node.exec(f"systemctl show -P MainPID {unit}").out)

    def kill(self, unit: str) -> float:
        """SIGKILL the main process of a unit, and return when: the node's wall clock."""
        pid = self.main_pid(unit)
        if pid == 0:
            raise CommandFailed(f"{unit} has no process to kill")
        return float(self.node.exec(f"date +%s.%N; kill -KILL {pid}").out)

    def lease_held(self, name: str) -> bool:
        """Whether anybody holds the lock that is the model's lease."""
        probe: Result = self.node.exec(free(name), check=False)
        return probe.rc != 0

    def wait_for_free_lease(self, name: str) -> None:
        """Wait until nobody holds it: a reaper does while it looks, after a runner's bad end."""
        self.node.wait(free(name))


def containers(name: str) -> str:
    """List in shell the containers of a model, running or not."""
    return f"docker ps -aq --no-trunc --filter label=io.spark-activator.model={name}"


def free(name: str) -> str:
    """Ask in shell whether nobody holds the lock that is the model's lease."""
    lock = f"/run/spark-activator/gpu/lease-{name}.lock"
    return f"[ ! -e {lock} ] || flock -n {lock} true"


def nothing(name: str) -> str:
    """Ask in shell whether no process and no container of a model is left, and it listens."""
    return (
        f'[ -z "$(docker ps -aq --filter name=^spark-{name}$)" ]'
        f" && ! systemctl is-active -q spark-model@{name}.service"
        f" && ! systemctl is-active -q spark-runner@{name}.service"
        f" && systemctl is-active -q spark-model@{name}.socket"
    )


def parse(output: str) -> list[dict[str, Any]]:
    """Read the client's lines, without those that only say that a stream began."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [line for line in lines if "ended" in line]


def wait_for_stream(client: subprocess.Popen[bytes]) -> None:
    """Wait until the client got its first event."""
    assert client.stdout is not None
    for line in client.stdout:
        if b'"streaming"' in line:
            return
        if b'"ended"' in line:
            raise CommandFailed(f"ended before it streamed: {line!r}")
    raise CommandFailed("the client said nothing")


def finish(client: subprocess.Popen[bytes], timeout: float = 120) -> list[dict[str, Any]]:
    """Wait for the client's end and return how its requests ended."""
    out, _ = client.communicate(timeout=timeout)
    return parse(out.decode())

"""Runners as real processes, under as much of systemd as they can see.

`Unit` does what systemd does for a runner or a supervisor: it holds the listener,
starts the process when somebody connects, keeps descriptors that the process
leaves with it (FDSTORE), restarts it when it fails, and forgets the store when
it ends well.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_proc import GIB, FakeProc

from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Engine, Image, Model, Source, Timeouts
from spark_activator.facts import fact
from spark_activator.layout import Layout
from spark_activator.protocol import Answer, Control, FromActivator, FromRunner, Hello
from spark_activator.protocol_json import decode_answer, decode_from_runner, encode
from spark_activator.runner.lock import is_free, open_lock

RESTART_AFTER = 0.1
# Without a measure a switch is taken to cost 5 minutes: with this 3 s, so that an
# idle model goes after 0.75 s and a busy one after 9 s.
PACE = 0.01
# The same where a busy one stays however long a test takes: it goes after 15 minutes.
SLOW = 1.0
# Seconds.  Nothing here takes so long, on whatever machine: who waits longer, waits for ever.
LIMIT = 60.0
# Bytes that the machine of a world has, none of them taken.
TOTAL = 128 * GIB
# `python -I` does not see the checkout: what systemd runs is an installation.
ROOT = str(Path(__file__).resolve().parent.parent)


class Unit(threading.Thread):
    """A socket unit and its service."""

    def __init__(self, world: World, module: str, fdname: str, path: Path, name: str) -> None:
        super().__init__(daemon=True, name=f"{fdname}-{name}")
        self.model = name
        self.starts = 0
        self.exits: list[int] = []
        self.store: dict[str, list[int]] = {}
        self.status = ""
        self.stopped = False
        self.process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._ends = ""
        self.log = world.root / f"{fdname}-{name}.log"
        self._world = world
        self._module = module
        self._fdname = fdname
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        self._wake_read, self._wake = os.pipe()
        self._notify_path = str(world.root / f"notify-{fdname}-{name}")
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self._notify_path)
        self._notify.setblocking(False)
        self._lock = threading.Lock()

    def run(self) -> None:
        while not self.stopped:
            readable, _, _ = select.select([self._listener, self._wake_read], [], [])
            if self._wake_read in readable and os.read(self._wake_read, 1) == b"x":
                return
            while self._serve_once() and not self.stopped:
                time.sleep(RESTART_AFTER)  # noqa: TID251  # as systemd does

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        process = self.process
        assert process is not None
        if number is signal.SIGKILL:
            self._ends = fact("exited")
        process.send_signal(number)
        if number is signal.SIGKILL:
            # Who connects after this is not accepted by one that dies.
            process.wait(LIMIT)

    @property
    def idle(self) -> bool:
        """Whether no process of it runs, and none is about to."""
        return self.process is None or self.process.poll() is not None

    def children(self) -> list[int]:
        """What a supervisor has started."""
        assert self.process is not None
        task = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        try:
            return [int(pid) for pid in Path(task).read_text().split()]
        except FileNotFoundError:
            return []

    def kill_children(self) -> None:
        for pid in self.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def forget_store(self) -> None:
        self._drop_store()

    def begin(self) -> None:
        """`systemctl start` of the service alone."""
        os.write(self._wake, b"s")

    def stop(self) -> None:
        """`systemctl stop` of socket and service."""
        self.begin_stop()
        self.finish_stop()

    def begin_stop(self) -> None:
        """Tell it to end."""
        with self._lock:
            self.stopped = True
            process = self.process
        os.write(self._wake, b"x")
        if process is not None and process.poll() is None:
            process.terminate()

    def finish_stop(self) -> None:
        """Wait until it has ended, and close all that it had."""
        if self.is_alive():
            self.join(LIMIT)
        self._drop_store()
        self._listener.close()
        self._notify.close()
        os.close(self._wake)
        os.close(self._wake_read)

    def _serve_once(self) -> bool:
        """Run the service until it ends; True when it has to be restarted."""
        with self._lock:
            if self.stopped:
                return False
            self._start()
        assert self.process is not None
        pidfd = self._pidfd
        while True:
            readable, _, _ = select.select([self._notify, pidfd], [], [])
            while self._hear():
                pass
            if pidfd in readable and not self._hear():
                break
        os.close(pidfd)
        code = self.process.wait()
        self.exits.append(code)
        # As systemd says it in the journal, but when it was killed: its locks were gone at once.
        with open(self.log, "a") as log:
            log.write((self._ends or fact("exited")) + "\n")
        self._ends = ""
        if code == 0 or self.stopped:
            self._drop_store()
            return False
        return True

    def _start(self) -> None:
        fds = [self._listener.fileno()]
        names = [self._fdname]
        for name, kept in self.store.items():
            fds += kept
            names += [name] * len(kept)
        env = {
            "PATH": os.environ["PATH"],
            "NOTIFY_SOCKET": self._notify_path,
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_FDNAMES": ":".join(names),
            "WATCHDOG_USEC": "30000000",
            **self._world.environment,
        }
        self.starts += 1
        changed = "".join(
            f"import spark_activator.{name.rpartition('.')[0]} as m; "
            f"m.{name.rpartition('.')[2]} = {value}; "
            for name, value in self._world.constants.items()
        )
        code = (
            f"import os, runpy, sys; sys.path.insert(0, {ROOT!r}); {changed}"
            "os.environ['LISTEN_PID'] = str(os.getpid()); "
            f"sys.argv[1:] = [{self.model!r}]; "
            f"runpy.run_module({self._module!r}, run_name='__main__', alter_sys=True)"
        )

        def place() -> None:
            # First out of the way, to where nothing is, then to 3, 4, …
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for fd in fds]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)
                os.close(fd)

        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", code],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                close_fds=False,
                preexec_fn=place,
            )
        # Before anybody else knows of it, and may collect it.
        self._pidfd = os.pidfd_open(process.pid)
        self.process = process

    def _hear(self) -> bool:
        try:
            data, ancillary, _, _ = self._notify.recvmsg(8192, socket.CMSG_SPACE(64))
        except BlockingIOError:
            return False
        fds = array.array("i")
        for _level, _kind, payload in ancillary:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        said = dict(line.split("=", 1) for line in data.decode().splitlines())
        if "FDSTORE" in said:
            for fd in fds:
                os.set_inheritable(fd, False)
            self.store.setdefault(said["FDNAME"], []).extend(fds)
            return True
        for fd in fds:
            os.close(fd)
        if "FDSTOREREMOVE" in said:
            for fd in self.store.pop(said["FDNAME"], []):
                os.close(fd)
        self.status = said.get("STATUS", self.status)
        return True

    def _drop_store(self) -> None:
        for fds in self.store.values():
            for fd in fds:
                os.close(fd)
        self.store = {}


class World:
    """The four roots below *root*, and the units of some models."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Runners wait for what an engine took to come back, and what other tests take
        # of this machine meanwhile would be waited for as well.
        self.memory = FakeProc(root / "kernel", TOTAL)
        self.layout = Layout(
            root / "etc", root / "var", root / "run", root / "share", proc=self.memory.root
        )
        self.units: dict[str, Unit] = {}
        self.engines: dict[str, Unit] = {}
        self.activators: list[Activator] = []
        self.doors: list[DockerDoor] = []
        # Numbers of modules that processes have otherwise, such as "runner.rounds.LINGER".
        self.constants: dict[str, float] = {}
        # One model of the default size fits, and what takes minutes takes moments.
        self.host = HostSettings(budget=64 << 20, pace=PACE)
        self.share(self.host)

    @property
    def environment(self) -> dict[str, str]:
        layout = self.layout
        return {
            "SPARK_CONFIG": str(layout.config),
            "SPARK_STATE": str(layout.state),
            "SPARK_RUN": str(layout.run),
            "SPARK_SHARE": str(layout.share),
            "SPARK_PROC": str(layout.proc),
            "DOCKER_HOST": f"unix://{docker_socket()}",
        }

    def docker_through(self, path: Path) -> None:
        """Have runners reach Docker at *path*."""
        self.share(replace(self.host, docker_host=str(path)))

    def share(self, host: HostSettings) -> None:
        """Let *host* be what all runners share by."""
        self.host = host
        file = self.layout.frozen_host
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_text(frozen.dump_host(host))
        beside.replace(file)

    def freeze(self, model: Model) -> None:
        file = self.layout.frozen(model.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_text(frozen.dump(model))
        beside.replace(file)

    def runner(self, model: Model) -> Unit:
        """Freeze *model* and listen for it."""
        self.freeze(model)
        if model.engine is Engine.PROCESS:
            engine = Unit(
                self,
                "spark_activator.runner.supervisor",
                "engine",
                self.layout.engine_socket(model.name),
                model.name,
            )
            engine.start()
            self.engines[model.name] = engine
        unit = Unit(
            self,
            "spark_activator.runner",
            "runner",
            self.layout.runner_socket(model.name),
            model.name,
        )
        unit.start()
        self.units[model.name] = unit
        return unit

    def state(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self.layout.state_file(name).read_text()))
        except FileNotFoundError:
            return {}

    @contextmanager
    def planning(self) -> Iterator[None]:
        """Have `plan.lock`: nobody else takes a lock meanwhile, nor looks whether one is free.

        Both take it for a moment.  Who looks without this may find one taken that is free,
        and a runner may miss its turn or its ticket.
        """
        lock = open_lock(self.layout.gpu / "plan.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def lease_is_free(self, name: str) -> bool:
        with self.planning():
            return is_free(self.layout.gpu / f"lease-{name}.lock")

    def ticket_is_free(self, name: str) -> bool:
        with self.planning():
            return is_free(self.layout.gpu / f"ticket-{name}.lock")

    def close(self) -> None:
        for activator in self.activators:
            activator.close()
        # Each of them, also where the time of the test is over in the middle.
        with contextlib.ExitStack() as ends:
            for units in (self.engines, self.units):
                for unit in units.values():
                    ends.callback(unit.finish_stop)
                for unit in units.values():
                    ends.callback(unit.begin_stop)

    def logs(self) -> str:
        return "\n".join(f"--- {f.name}\n{f.read_text()}" for f in sorted(self.root.glob("*.log")))


@contextmanager
def opened(root: Path) -> Iterator[World]:
    world = World(root)
    try:
        yield world
    finally:
        world.close()
        print(world.logs())


class Activator:
    """A demand connection, from the activator's side."""

    def __init__(
        self, world: World, name: str, *, role: str = "demand", first: bytes | None = None
    ) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LIMIT)
        self._file = self._socket.makefile("rb")
        self.seen: list[FromRunner] = []
        world.activators.append(self)
        self._socket.connect(str(world.layout.runner_socket(name)))
        hello = encode(Hello(role))  # type: ignore[arg-type]  # any text is sent
        self._socket.sendall(hello if first is None else first)

    def say(self, line: FromActivator | Control) -> None:
        self._socket.sendall(encode(line))

    def hear(self, limit: float = LIMIT) -> FromRunner | None:
        self._socket.settimeout(limit)
        line = self._file.readline()
        if not line:
            return None
        said = decode_from_runner(line)
        self.seen.append(said)
        return said

    def wait(self, kind: type[Any], limit: float = LIMIT) -> Any:
        """Read on until a line of *kind* comes."""
        deadline = time.monotonic() + limit
        while (said := self.hear(max(0.01, deadline - time.monotonic()))) is not None:
            if isinstance(said, kind):
                return said
        raise AssertionError(f"the runner closed; seen: {self.seen}")

    def wait_closed(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while self._file.readline():
                pass

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def control(world: World, name: str, command: str) -> Answer:
    activator = Activator(world, name, role="control")
    activator.say(Control(command))  # type: ignore[arg-type]  # as above
    line = activator._file.readline()
    activator.close()
    return decode_answer(line)


def until(condition: Callable[[], Any], limit: float = LIMIT, what: str = "") -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit} s: {what or condition}")
        time.sleep(0.02)  # noqa: TID251  # nobody tells


def process_model(name: str, *extra: str, **changes: Any) -> Model:
    """A model whose engine is the embedded one, as a process."""
    model = Model(
        name=name,
        port=18100,
        engine=Engine.PROCESS,
        source=Source("demo"),
        memory=64 << 20,
        command=(*_demo_command(), "--socket", "{socket}", "--served-model-name", name, *extra),
        timeouts=Timeouts(idle=60, stall=40, start=60, drain=5),
    )
    return replace(model, **changes)


def gated(model: Model, gate: Path) -> Model:
    """Have the process of *model* begin to load, and go on only when *gate* is there."""
    wait = f'echo Starting to load model; until [ -e {gate} ]; do sleep 0.05; done; exec "$@"'
    return replace(model, command=("/bin/sh", "-c", wait, "sh", *model.command))


def container_model(
    name: str, *extra: str, image: str = "spark-demo:latest", **changes: Any
) -> Model:
    """A model whose engine is the embedded one, in a container."""
    model = Model(
        name=name,
        port=18101,
        engine=Engine.CONTAINER,
        source=Source("demo"),
        memory=64 << 20,
        image=Image("spark-demo", image, cpu=True),
        args=("--socket", "{socket}", "--served-model-name", name, *extra),
        timeouts=Timeouts(idle=60, stall=40, start=60, drain=5),
    )
    return replace(model, **changes)


def _demo_command() -> tuple[str, ...]:
    code = (
        f"import sys, runpy; sys.path.insert(0, {ROOT!r}); "
        "runpy.run_module('spark_activator.demo', run_name='__main__', alter_sys=True)"
    )
    return ("{python}", "-I", "-c", code)


def docker_socket() -> str:
    """Where the engine that the tests use listens; `tests/run` may have started its own."""
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


class DockerDoor:
    """A way to Docker that can be shut: for those behind it Docker is gone."""

    def __init__(self, world: World) -> None:
        self.path = world.root / "docker.sock"
        world.doors.append(self)
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        # Nobody comes through while it is being shut.
        self._lock = threading.Lock()
        self.open()

    def open(self) -> None:
        if self.path.exists():
            return
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        assert self._listener is not None
        with self._lock:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self.path.unlink()
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._listener is not None:
            self.shut()
        for sock in self._open:
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if listener is not self._listener:
                    near.close()  # accepted in the moment in which it was shut
                    return
                far = socket.socket(socket.AF_UNIX)
                self._open += [near, far]
                far.connect(docker_socket())
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)

"""What goes wrong around a runner: planted links, Docker that is slow, files that break."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from docker_world import containers, docker, opened_with_docker, ready
from runner_world import (
    Activator,
    DockerDoor,
    World,
    _copy,
    container_model,
    docker_socket,
    process_model,
    until,
)

from spark_activator.catalog.host import HostSettings
from spark_activator.errors import EngineFailed
from spark_activator.protocol import Busy, Bye, Failed, Queued, Ready, Stopping
from spark_activator.runner import history, upstream
from spark_activator.runner.container import ContainerEngine
from spark_activator.runner.dockerd import Dockerd
from spark_activator.runner.gpu_files import read_lease, read_ticket

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened_with_docker(tmp_path) as world:
        yield world


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"runner-attack-{os.getpid()}-{abs(hash(request.node.name)) % 10000}"


async def test_link_in_place_of_the_engines_socket_is_not_followed(tmp_path: Path) -> None:
    # The engine's container can write here, and what a link names is resolved outside of it.
    secret = socket.socket(socket.AF_UNIX)
    secret.bind(str(tmp_path / "docker.sock"))
    secret.listen()
    upstream.make(tmp_path / "up", "0a1b2c3d")
    (tmp_path / "up/0a1b2c3d/engine.sock").symlink_to(tmp_path / "docker.sock")

    with pytest.raises(OSError):  # noqa: PT011  # whichever the kernel says
        await upstream.connect(tmp_path / "up", "0a1b2c3d")

    secret.setblocking(False)
    with pytest.raises(BlockingIOError):
        secret.accept()
    secret.close()


def test_last_line_without_its_end_and_an_endless_line_are_heard(world: World, name: str) -> None:
    shout = "head -c 3000000 /dev/zero | tr '\\\\0' x; printf '\\\\377 no such flag'; exit 4"
    model = container_model(name, args=("-c", shout))
    unit = world.runner(
        type(model)(
            **{
                **{f: getattr(model, f) for f in model.__slots__},
                "container": type(model.container)(entrypoint=("/bin/sh",)),
            }
        )
    )
    failed = Activator(world, name).wait(Failed)

    assert "status 4" in failed.message
    log = unit.log.read_text()
    assert "no such flag" in log
    assert max(len(line) for line in log.splitlines()) < 10_000


def test_image_without_a_shell_is_named(world: World, name: str) -> None:
    subprocess.run(
        ["docker", "import", "--change", 'CMD ["/engine"]', "-", f"{name}:latest"],
        input=b"\0" * 10240,  # an empty archive
        check=True,
        capture_output=True,
    )
    try:
        world.runner(container_model(name, image=f"{name}:latest"))
        failed = Activator(world, name).wait(Failed)
        assert "/bin/sh" in failed.message
    finally:
        until(lambda: containers(name) == [])
        docker("rmi", f"{name}:latest")


def test_container_of_somebody_else_in_the_way_is_named(world: World, name: str) -> None:
    docker("run", "-d", "--name", f"spark-{name}", "--entrypoint", "sleep", "spark-demo", "600")
    try:
        world.runner(container_model(name))
        failed = Activator(world, name).wait(Failed)
        assert f"spark-{name}" in failed.message
        assert "docker rm" in failed.message
        until(lambda: world.lease_is_free(name))
        assert docker("inspect", "-f", "{{.State.Running}}", f"spark-{name}") == "true"
    finally:
        docker("rm", "-f", f"spark-{name}")


@pytest.mark.slow
def test_container_that_is_removed_by_hand_is_noticed(world: World, name: str) -> None:
    world.runner(container_model(name))
    activator, _ = ready(world, name)
    docker("rm", "-f", f"spark-{name}")
    activator.wait(Stopping)
    activator.close()
    ready(world, name)


@pytest.fixture
def door(world: World) -> DockerDoor:
    door = DockerDoor(world)
    world.docker_through(door.path)
    return door


@pytest.mark.slow
def test_runner_that_comes_back_while_docker_is_away_keeps_the_engine(
    world: World, name: str, door: DockerDoor
) -> None:
    # Clients wait for Docker however long this takes.
    world.constants["runner.way_up.DOCKER_PATIENCE"] = 600.0
    unit = world.runner(container_model(name))
    activator, activation = ready(world, name)
    before = containers(name)

    door.shut()
    unit.kill()
    assert activator.hear() is None
    again = Activator(world, name)
    again.say(Busy(1))
    # It says so when a first look at Docker has failed.
    until(lambda: "Docker" in world.state(name).get("waiting_for", ""))
    door.open()

    assert again.wait(Ready).upstream == activation
    assert containers(name) == before


def exchange(one: Path, other: Path) -> None:
    """Have each where the other was, with no moment in between; see rename(2)."""
    at_cwd, rename_exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(at_cwd, names[0], at_cwd, names[1], rename_exchange) != 0:
        raise OSError(ctypes.get_errno(), "cannot exchange", one, None, other)


@contextlib.contextmanager
def broken_leases(world: World) -> Iterator[None]:
    """Have a file where the directory of leases was, which comes back as it was."""
    # At once: the runner makes anew what is missing whenever it looks.
    file = world.root / "in-its-place"
    file.write_text("not a directory")
    exchange(world.layout.gpu, file)
    yield
    exchange(world.layout.gpu, file)


@pytest.mark.slow
def test_directory_of_leases_that_breaks_does_not_end_a_model_that_serves(world: World) -> None:
    unit = world.runner(process_model("a"))
    activator, activation = ready(world, "a")
    with broken_leases(world):
        until(lambda: "Failed to look who waits" in unit.log.read_text())
        assert world.state("a")["phase"] == "ready"
    assert ready(world, "a")[1] == activation
    assert unit.exits == []
    activator.close()


def test_descriptions_with_impossible_numbers_are_unknown(tmp_path: Path) -> None:
    for number in ("1e999", "NaN", "-1e999", "true"):
        text = f'{{"state": "ready", "memory": {number}, "since": {number}, "in_flight": {number}}}'
        (tmp_path / "lease-a.json").write_text(text)
        (tmp_path / "ticket-a.json").write_text(text)
        assert read_lease(tmp_path, "a").memory is None
        assert read_ticket(tmp_path, "a").since > 0


def test_entry_after_a_torn_one_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"start": 1}\n{"sta')
    history.append(file, {"start": 2})
    history.append(file, {"start": 3})
    assert [entry["start"] for entry in history.read_last(file)] == [1, 2, 3]
    file.write_text("[" * 99999 + "\n")
    assert history.read_last(file) == []


def test_reaper_of_a_process_engine_needs_no_docker(world: World) -> None:
    world.freeze(process_model("a"))
    world.docker_through(world.root / "nowhere.sock")
    done = subprocess.run(
        [sys.executable, "-m", "spark_activator.runner.reaper", "a"],
        env={"PATH": os.environ["PATH"], **world.environment},
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.slow
def test_plan_that_is_held_at_the_start_does_not_lose_what_was_stored(world: World) -> None:
    # The directory is broken while the runner comes back, and mended later.
    unit = world.runner(process_model("a"))
    activator, activation = ready(world, "a")
    with broken_leases(world):
        unit.kill()
        assert activator.hear() is None
        assert Activator(world, "a").wait(Failed).code == "state_unwritable"

    assert ready(world, "a")[1] == activation


@pytest.mark.parametrize("moment", ["before", "after"])
def test_runner_killed_when_its_turn_comes_keeps_its_place(world: World, moment: str) -> None:
    # Stopped between the lease that is taken and systemd's copy of it: `a` holds
    # nothing that it could lose, and `b` is not served before it.
    for model in "ab":
        world.runner(process_model(model))
    first, _ = ready(world, "a")
    b = Activator(world, "b")
    b.wait(Queued)
    store = world.units["b"].store
    until(lambda: list(store) == ["ticket"])
    first.say(Bye())
    first.close()
    if moment == "before":
        until(lambda: "lease" in store)
        # The ticket goes only when the lease is safe.
        assert json.loads((world.layout.gpu / "lease-b.json").read_text())["model"] == "b"
    b.wait(Ready)
    until(lambda: sorted(store) == ["lease"])
    world.units["b"].kill(signal.SIGKILL)
    again, _ = ready(world, "b")
    again.say(Bye())
    again.close()
    until(lambda: world.lease_is_free("b"))


def held_by(world: World, name: str) -> tuple[int, int]:
    process = world.units[name].process
    assert process is not None
    base = f"/proc/{process.pid}"
    return len(os.listdir(f"{base}/fd")), len(os.listdir(f"{base}/task"))


@pytest.mark.parametrize(("kind", "times"), [("process", 40), ("container", 6)])
def test_many_activations_of_one_runner_leak_nothing(
    world: World, name: str, kind: str, times: int
) -> None:
    make = process_model if kind == "process" else container_model
    # Who has not said who it is keeps the runner, where the next client comes late.
    world.constants["runner.connection.HELLO_LIMIT"] = 600.0
    unit = world.runner(make(name, probe=False))
    keeper = Activator(world, name, first=b"")
    counts = []
    activator, _ = ready(world, name)
    for _ in range(times):
        counts.append(held_by(world, name))
        activator.say(Bye())
        activator.close()
        activator, _ = ready(world, name)
    assert unit.starts == 1
    print(counts)
    most = max(fds for fds, _ in counts[:3]) + 2

    def leaks_nothing() -> bool:
        # What it has open for a moment, as the last client's connection, is closed soon.
        fds, threads = held_by(world, name)
        return fds <= most and threads <= 12

    until(leaks_nothing)
    keeper.close()


class SlowDocker(threading.Thread):
    """A way to Docker on which each request with *slow* in it takes *pause* seconds longer."""

    def __init__(self, path: Path, pause: float, slow: bytes = b"/containers/create") -> None:
        super().__init__(daemon=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._pause = pause
        self._slow = slow
        self._clients: list[socket.socket] = []
        self._carrying: list[threading.Thread] = []
        self.start()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.join()
        for near in self._clients:
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)  # a client may keep its connections
        for thread in self._carrying:
            thread.join()

    def run(self) -> None:
        with self._listener, contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._clients.append(near)
                self._carrying.append(threading.Thread(target=self._carry, args=(near,)))
                self._carrying[-1].start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as far:
            far.connect(docker_socket())
            back = threading.Thread(target=_copy, args=(far, near))
            back.start()
            while data := near.recv(65536):
                if self._slow in data:
                    time.sleep(self._pause)  # noqa: TID251  # what a Docker that hangs does
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)
            back.join()


@pytest.mark.slow
def test_docker_that_is_slow_to_say_that_it_is_there_is_there(
    world: World, name: str, tmp_path: Path
) -> None:
    # Its socket has just started it, or the machine is busy reading 60 GB.
    with SlowDocker(tmp_path / "docker.sock", 5, slow=b"/_ping"):
        world.docker_through(tmp_path / "docker.sock")
        world.runner(container_model(name))
        activator, _ = ready(world, name)
        activator.say(Bye())
        activator.close()
        until(lambda: world.lease_is_free(name))


@pytest.mark.slow
async def test_container_that_docker_makes_too_late_is_removed_and_never_started(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_activator.runner.container.START_LIMIT", 1.0)
    with SlowDocker(tmp_path / "docker.sock", 2.5):
        world = World(tmp_path)
        engine = ContainerEngine(
            container_model(name),
            "c0ffee",
            layout=world.layout,
            host=HostSettings(),
            dockerd=Dockerd(str(tmp_path / "docker.sock")),
        )
        with pytest.raises(EngineFailed):
            await engine.start("0a1b2c3d")
        await engine.stop()

        assert not engine.may_exist
        await trio.sleep(1)
        assert await trio.to_thread.run_sync(containers, name) == []


def test_reaper_is_armed_unless_the_runner_left_by_itself(tmp_path: Path) -> None:
    # A runner that is told to stop before it can hear it dies of SIGTERM, which
    # is a success for systemd; but its engine is still there.
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho armed > {tmp_path}/armed\n")
    (tmp_path / "systemctl").chmod(0o755)
    for folder in (
        "system/spark-runner@.service.d/10-system",
        "user/spark-runner@.service.d/10-user",
    ):
        text = (ROOT / f"units/{folder}.conf").read_text()
        [line] = [line for line in text.splitlines() if line.startswith("ExecStopPost=")]
        script = line.partition(" -c '")[2].removesuffix("'")
        for code, status, result, armed in (
            ("exited", "0", "success", False),
            ("killed", "TERM", "success", True),
            ("killed", "KILL", "signal", True),
            ("exited", "1", "exit-code", True),
        ):
            (tmp_path / "armed").unlink(missing_ok=True)
            subprocess.run(
                ["/bin/sh", "-c", script],
                check=False,
                env={
                    "PATH": f"{tmp_path}:/usr/bin:/bin",
                    "EXIT_CODE": code,
                    "EXIT_STATUS": status,
                    "SERVICE_RESULT": result,
                },
            )
            assert (tmp_path / "armed").exists() is armed, (code, status)


async def test_socket_that_is_what_it_seems_is_connected_to(tmp_path: Path) -> None:
    upstream.make(tmp_path / "up", "0a1b2c3d")
    listener = trio.socket.socket(socket.AF_UNIX)
    await listener.bind(str(tmp_path / "up/0a1b2c3d/engine.sock"))
    listener.listen()
    await (await upstream.connect(tmp_path / "up", "0a1b2c3d")).aclose()
    listener.close()


async def test_socket_of_a_proxy_is_the_engines_by_a_second_name(tmp_path: Path) -> None:
    listener = trio.socket.socket(socket.AF_UNIX)
    await listener.bind(str(tmp_path / "tcp.sock"))
    listener.listen()
    upstream.make(tmp_path / "up", "0a1b2c3d")
    upstream.give_socket(tmp_path / "up", "0a1b2c3d", tmp_path / "tcp.sock")

    await (await upstream.connect(tmp_path / "up", "0a1b2c3d")).aclose()
    upstream.remove_all(tmp_path / "up")

    assert (tmp_path / "tcp.sock").is_socket()
    assert not list((tmp_path / "up").iterdir())
    listener.close()

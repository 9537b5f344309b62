"""Engines in real containers, with the runner as a real process that is killed at will."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_world import containers, docker, opened_with_docker, ready
from runner_world import (
    Activator,
    DockerDoor,
    World,
    container_model,
    control,
    process_model,
    until,
)

from spark_activator.catalog.model import Engine, Source, Timeouts
from spark_activator.protocol import Busy, Bye, Failed, Ready, Starting, Stopping, Yield, Yielded
from spark_activator.runner.dockerd import CALL_LIMIT

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened_with_docker(tmp_path) as world:
        yield world


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"runner-test-{os.getpid()}-{abs(hash(request.node.name)) % 10000}"


def test_hello_ready_bye_gone(world: World, name: str) -> None:
    # Docker may take its time until it shows the log.
    unit = world.runner(container_model(name, "--weights-time", "4"))
    activator, activation = ready(world, name)
    upstream = world.layout.upstream(name) / activation
    assert stat.S_IMODE(upstream.stat().st_mode) == 0o2770
    assert stat.S_IMODE((upstream / "engine.sock").stat().st_mode) == 0o770
    assert len(containers(name)) == 1
    assert any(line.phase == "weights" for line in activator.seen if isinstance(line, Starting))

    activator.say(Bye())
    activator.close()

    until(lambda: unit.exits == [0], what="the runner leaves")
    assert containers(name) == []
    assert not list(world.layout.upstream(name).iterdir())
    assert world.lease_is_free(name)


def test_runner_killed_while_serving_adopts_its_container(world: World, name: str) -> None:
    unit = world.runner(container_model(name))
    activator, activation = ready(world, name)
    before = containers(name)

    unit.kill()
    assert activator.hear() is None
    assert not world.lease_is_free(name)
    again, adopted = ready(world, name)

    assert adopted == activation
    assert containers(name) == before
    assert unit.starts == 2
    again.say(Bye())
    again.close()
    until(lambda: len(unit.exits) == 2, what="the runner leaves")
    assert containers(name) == []


@pytest.mark.slow
def test_runner_killed_while_loading_adopts_what_loads(world: World, name: str) -> None:
    # The next runner hears of it, however long that takes to start.
    unit = world.runner(container_model(name, "--weights-time", "1", "--compile-time", "12"))
    activator = Activator(world, name)
    activator.say(Busy(1))
    while activator.wait(Starting).phase != "weights":
        pass
    before = containers(name)

    unit.kill()
    again, _ = ready(world, name)

    assert containers(name) == before
    assert any(line.phase == "compile" for line in again.seen if isinstance(line, Starting))
    again.say(Bye())
    again.close()
    until(lambda: len(unit.exits) == 2, what="the runner leaves")


def test_container_that_is_killed_is_noticed_and_the_next_request_served(
    world: World, name: str
) -> None:
    world.runner(container_model(name))
    activator, activation = ready(world, name)

    docker("kill", f"spark-{name}")
    activator.wait(Stopping)
    again, second = ready(world, name)

    assert second != activation
    assert len(containers(name)) == 1
    activator.close()
    again.close()


def test_container_that_dies_at_start_fails_at_once(world: World, name: str) -> None:
    unit = world.runner(
        container_model(name, "--exit-at-start", "3", "--exit-message", "no such flag: --wrong")
    )
    activator = Activator(world, name)
    failed = activator.wait(Failed)

    assert failed.code == "start_failed"
    assert "--wrong" not in failed.message
    assert "no such flag: --wrong" in unit.log.read_text()
    activator.close()
    until(lambda: containers(name) == [] and world.lease_is_free(name))


def test_missing_image_is_named_with_the_command(world: World, name: str) -> None:
    world.runner(container_model(name, image="runner-test-nowhere:latest"))
    failed = Activator(world, name).wait(Failed)

    assert failed.code == "image_missing"
    assert "run: sudo spark-model image build spark-demo" in failed.message


def test_missing_weights_are_named_with_the_command_each_time(world: World, name: str) -> None:
    model = container_model(name, engine=Engine.VLLM, source=Source("acme/none"), args=())
    world.runner(model)

    for _ in range(2):
        failed = Activator(world, name).wait(Failed)
        assert failed.code == "weights_missing"
        assert f"sudo spark-model pull {name}" in failed.message
    assert containers(name) == []


def test_stop_by_control_drains_first(world: World, name: str) -> None:
    drains = Timeouts(idle=60, stall=40, start=60, drain=60)
    unit = world.runner(container_model(name, timeouts=drains))
    activator, _ = ready(world, name)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(control(world, name, "stop")))
    asking.start()
    activator.wait(Yield)
    assert world.state(name)["phase"] == "draining"
    assert len(containers(name)) == 1
    activator.say(Yielded())
    activator.close()
    asking.join(60)

    assert answers[0].ok
    assert containers(name) == []
    until(lambda: unit.exits == [0])


def test_stop_of_the_units_leaves_nothing(world: World, name: str) -> None:
    unit = world.runner(container_model(name))
    activator, _ = ready(world, name)

    unit.kill(signal.SIGTERM)
    activator.wait(Yield)
    activator.say(Yielded())
    activator.close()

    until(lambda: unit.exits == [0], what="the runner leaves")
    assert containers(name) == []
    assert world.lease_is_free(name)


@pytest.fixture
def door(world: World) -> DockerDoor:
    door = DockerDoor(world)
    world.docker_through(door.path)
    return door


def test_docker_that_is_away_is_said_at_once_and_asked_anew(
    world: World, name: str, door: DockerDoor
) -> None:
    # Runs already: what is measured is no start of an interpreter.
    world.constants["runner.connection.HELLO_LIMIT"] = 600.0
    unit = world.runner(container_model(name))
    keeper = Activator(world, name, first=b"")
    until(lambda: "waiting for an activator" in unit.status)
    door.shut()
    began = time.monotonic()
    failed = Activator(world, name).wait(Failed)
    assert failed.code == "docker_unavailable"
    # What Docker is given to answer anything.
    assert time.monotonic() - began < CALL_LIMIT
    until(lambda: world.lease_is_free(name))

    door.open()
    ready(world, name)
    assert unit.starts == 1
    keeper.close()


@pytest.mark.slow
def test_docker_that_hangs_is_away(world: World, name: str, tmp_path: Path) -> None:
    deaf = socket.socket(socket.AF_UNIX)
    deaf.bind(str(tmp_path / "deaf.sock"))
    deaf.listen()
    world.docker_through(tmp_path / "deaf.sock")
    # Who asks runs already, as above.
    world.constants |= {
        "runner.connection.HELLO_LIMIT": 600.0,
        "runner.dockerd.PING_LIMIT": 1.0,
    }
    unit = world.runner(container_model(name))
    keeper = Activator(world, name, first=b"")
    until(lambda: "waiting for an activator" in unit.status)

    assert Activator(world, name).wait(Failed).code == "docker_unavailable"
    until(lambda: world.lease_is_free(name))
    keeper.close()
    deaf.close()


@pytest.mark.slow
def test_lease_is_held_until_docker_says_that_the_container_is_gone(
    world: World, name: str, door: DockerDoor
) -> None:
    world.runner(container_model(name))
    activator, _ = ready(world, name)

    door.shut()
    time.sleep(1.5)  # noqa: TID251  # it would be noticed by now
    # Docker is away and the engine is not: nothing of this is a client's business.
    assert world.state(name)["phase"] == "ready"
    docker("kill", f"spark-{name}")
    activator.wait(Stopping)
    again = Activator(world, name)
    assert again.wait(Failed).code == "docker_unavailable"
    assert not world.lease_is_free(name)

    door.open()
    until(lambda: world.lease_is_free(name))
    assert containers(name) == []
    ready(world, name)


def test_orphan_of_another_model_is_removed_before_a_start(world: World, name: str) -> None:
    other = f"{name}-other"
    unit = world.runner(container_model(other))
    ready(world, other)
    # Runner and store are lost together: nobody holds the lease, the container runs.
    unit.stopped = True
    unit.kill()
    until(lambda: world.lease_is_free(other))
    assert len(containers(other)) == 1

    world.runner(container_model(name))
    ready(world, name)

    assert containers(other) == []
    assert not list(world.layout.upstream(other).iterdir())


def test_orphan_is_adopted_by_its_own_model(world: World, name: str) -> None:
    unit = world.runner(container_model(name))
    _, activation = ready(world, name)
    unit.forget_store()
    unit.kill()
    _, again = ready(world, name)
    assert again == activation


def test_engine_with_another_configuration_is_replaced(world: World, name: str) -> None:
    unit = world.runner(container_model(name))
    activator, activation = ready(world, name)
    world.freeze(container_model(name, "--tokens-per-second", "7"))
    unit.kill()
    assert activator.hear() is None

    _, again = ready(world, name)

    assert again != activation
    assert len(containers(name)) == 1


def test_reaper_leaves_an_engine_alone_whose_lease_is_held(world: World, name: str) -> None:
    unit = world.runner(container_model(name))
    ready(world, name)
    assert reaped(world, name) == 0
    assert len(containers(name)) == 1

    unit.stopped = True
    unit.kill()
    until(lambda: world.lease_is_free(name))
    assert reaped(world, name) == 0
    assert containers(name) == []
    assert world.lease_is_free(name)


def reaped(world: World, name: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "spark_activator.runner.reaper", name],
        env={"PATH": os.environ["PATH"], **world.environment},
        cwd=ROOT,
    ).returncode


def test_container_of_somebody_else_is_never_touched(world: World, name: str) -> None:
    docker("run", "-d", "--name", f"spark-{name}", "--entrypoint", "sleep", "spark-demo", "600")
    try:
        world.runner(container_model(name))
        assert Activator(world, name).wait(Failed).code == "start_failed"
        assert docker("inspect", "-f", "{{.State.Running}}", f"spark-{name}") == "true"
    finally:
        docker("rm", "-f", f"spark-{name}")


@pytest.mark.slow
def test_process_waits_for_a_container_and_the_other_way_round(world: World, name: str) -> None:
    world.runner(container_model(name))
    world.runner(process_model("a"))
    first, _ = ready(world, name)
    first.say(Busy(0))
    second = Activator(world, "a")
    second.say(Busy(1))
    first.wait(Yield)
    first.say(Yielded())
    first.close()
    second.wait(Ready)
    assert containers(name) == []
    third = Activator(world, name)
    third.say(Busy(1))
    second.say(Busy(0))
    second.wait(Yield)
    second.close()
    third.wait(Ready)


def test_container_has_nothing_that_it_does_not_need(world: World, name: str) -> None:
    world.runner(container_model(name))
    ready(world, name)
    inspected = json.loads(docker("inspect", f"spark-{name}"))[0]
    host = inspected["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"]
    assert host["Init"] is True
    assert not host["Privileged"]
    # Docker lists them in no order.
    writable = {mount["Destination"] for mount in inspected["Mounts"] if mount["RW"]}
    assert writable == {"/run/upstream", "/root/.cache"}
    words = docker("exec", f"spark-{name}", "sh", "-c", "grep Cap /proc/self/status; umask")
    assert all(line.split()[1].strip("0") == "" for line in words.splitlines() if "Cap" in line)

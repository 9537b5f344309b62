"""`spark-model lease run`: a program waits its turn, and has its lease until it is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lease_world import call, environment, shown, start
from runner_world import LIMIT, Activator, World, opened, process_model, until

from spark_activator.protocol import Busy, Failed, Ready

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        yield world


def serving(world: World, name: str, in_flight: int) -> Activator:
    world.runner(process_model(name))
    activator = Activator(world, name)
    activator.wait(Ready)
    activator.say(Busy(1))
    if not in_flight:
        activator.say(Busy(0))
    return activator


def test_idle_model_makes_room_and_the_exit_status_is_the_commands(world: World) -> None:
    serving(world, "a", 0)

    result = call(world, "lease", "run", "--memory", "64MiB", "--", "sh", "-c", "echo $0; exit 7")

    assert result.returncode == 7
    assert result.stdout == "sh\n"
    assert "waiting for its turn: position 1, behind a" in result.stderr
    assert world.lease_is_free("a")
    assert world.lease_is_free("+sh")


def test_second_separator_and_options_are_the_commands(world: World) -> None:
    result = call(world, "lease", "run", "--memory", "1MiB", "--", "echo", "--name", "--", "x")

    assert (result.returncode, result.stdout) == (0, "--name -- x\n")


def test_end_by_a_signal_is_told_as_a_shell_does(world: World) -> None:
    result = call(world, "lease", "run", "--memory", "1MiB", "--", "sh", "-c", "kill -KILL $$")

    assert result.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_command(world: World, number: signal.Signals) -> None:
    script = (
        "import signal, sys; "
        f"signal.signal({int(number)}, lambda *_: sys.exit(9)); "
        "print('up', flush=True); signal.pause()"
    )
    process = start(world, "lease", "run", "--memory", "1MiB", "--", sys.executable, "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    process.send_signal(number)

    process.communicate(timeout=LIMIT)
    assert process.returncode == 9


def test_command_inherits_no_signal_setting_of_ours(world: World) -> None:
    script = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    plain = subprocess.run(
        ["sh", "-c", script], env=environment(world), capture_output=True, text=True, check=True
    )
    leased = call(world, "lease", "run", "--memory", "1MiB", "--", "sh", "-c", script)

    assert signal_sets(leased.stdout) == signal_sets(plain.stdout)


def signal_sets(status: str) -> list[int]:
    """Blocked and ignored ones; 32 and 33 are the C library's own affair."""
    return [int(line.split()[1], 16) & 0x7FFFFFFF for line in status.splitlines()]


def test_killed_wrapper_frees_the_lease_only_when_the_command_is_dead(world: World) -> None:
    process = start(
        world, "lease", "run", "--memory", "64MiB", "--name", "long", "--",
        "sh", "-c", "echo $$; exec sleep 600",
    )  # fmt: skip
    assert process.stdout is not None
    command = int(process.stdout.readline())
    process.kill()
    process.wait()

    assert not world.lease_is_free("+long")
    world.runner(process_model("a"))
    refused = Activator(world, "a").wait(Failed)
    assert refused.code == "gpu_held"
    assert "'long'" in refused.message

    os.kill(command, signal.SIGKILL)
    process.communicate()
    until(lambda: world.lease_is_free("+long"))
    Activator(world, "a").wait(Ready)


def test_command_that_closes_what_it_inherits_keeps_its_lease(world: World) -> None:
    script = (
        "import os, sys; os.closerange(3, 256); print('up', flush=True); sys.stdin.read(); "
        "import signal; signal.pause()"
    )
    process = start(
        world, "lease", "run", "--memory", "1MiB", "--name", "x", "--",
        sys.executable, "-c", script,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert not world.lease_is_free("+x")

    process.terminate()
    process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + signal.SIGTERM
    assert world.lease_is_free("+x")


def test_wait_ends_with_the_timeout_and_leaves_no_ticket(world: World) -> None:
    world.share(world.host.__class__(budget=64 << 20))  # a busy model stays for minutes
    serving(world, "a", 1)

    result = call(world, "lease", "run", "--memory", "64MiB", "--wait-timeout", "1s", "--", "true")

    assert result.returncode == 75
    assert "no lease within 1s" in result.stderr
    until(lambda: not (world.layout.gpu / "ticket-+true.json").exists())
    assert not world.lease_is_free("a")


def test_memory_that_is_not_there_is_said_and_nothing_is_left(world: World) -> None:
    world.share(world.host.__class__(budget=1 << 50))

    result = call(world, "lease", "run", "--memory", "512TiB", "--", "true")

    assert result.returncode == 75
    assert "524288.0 GiB" in result.stderr
    assert world.lease_is_free("+true")
    assert not (world.layout.gpu / "lease-+true.json").exists()


def test_two_programs_of_one_name_are_two(world: World) -> None:
    world.share(world.host.__class__(budget=200 << 20))
    first = start(
        world, "lease", "run", "--memory", "64MiB", "--name", "x", "--", "sh", "-c", "echo; read x",
        stdin=subprocess.PIPE,
    )  # fmt: skip
    assert first.stdout is not None
    first.stdout.readline()
    assert not world.lease_is_free("+x")
    script = "echo second"
    second = call(
        world, "lease", "run", "--memory", "64MiB", "--name", "x", "--", "sh", "-c", script
    )

    first.communicate(timeout=LIMIT)
    assert (second.returncode, second.stdout) == (0, "second\n")
    assert second.stderr.endswith("called 'x.2', since there is a 'x'\n")
    assert first.returncode == 1  # `read` at the end of its input


def test_programs_of_one_name_that_come_at_once_get_a_name_each(world: World) -> None:
    world.share(world.host.__class__(budget=1 << 30))
    script = "echo up; read x"
    many = [
        start(
            world, "lease", "run", "--memory", "1MiB", "--name", "x", "--", "sh", "-c", script,
            stdin=subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in many:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
    names = {lease["model"] for lease in shown(world)["leases"]}

    for process in many:
        process.communicate(timeout=LIMIT)
    assert names == {"x", "x.2", "x.3", "x.4"}


def test_command_that_is_not_there_is_said_before_the_wait(world: World, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    missing = call(world, "lease", "run", "--memory", "1MiB", "--", "no-such-program")
    plain = call(world, "lease", "run", "--memory", "1MiB", "--", str(tmp_path / "text"))

    assert (missing.returncode, plain.returncode) == (127, 126)
    assert missing.stderr == "spark-model: cannot run 'no-such-program': not found\n"
    assert not world.layout.gpu.exists()

"""The owner's GPU: `lease hold`, `pause` and `resume`, and what `lease show` says of it all."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from lease_world import call, shown, start
from runner_world import LIMIT, Activator, World, opened, process_model, until

from spark_activator.catalog.model import Timeouts
from spark_activator.protocol import Busy, Failed, Ready, Yield, Yielded
from spark_activator.runner.view import look
from spark_activator.runner.watch import DirectoryWatch

pytestmark = pytest.mark.slow
CLOCK = re.compile(r"until (?:\d{4}-\d\d-\d\d )?(\d\d):(\d\d):(\d\d)")
DAY = 86400


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        yield world


def end_time(text: str) -> int:
    found = CLOCK.search(text)
    assert found is not None, text
    hours, minutes, seconds = (int(part) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def same_end(*texts: str) -> bool:
    """Whether all name one end: a second is the rounding of two clocks."""
    first = end_time(texts[0])
    return all((end_time(text) - first + 1) % DAY <= 2 for text in texts)


def test_hold_keeps_models_out_and_names_its_end(world: World) -> None:
    process = start(world, "lease", "hold", "--memory", "64MiB", "--for", "20h")
    assert process.stdout is not None
    said = process.stdout.readline()
    world.runner(process_model("a"))

    refused = Activator(world, "a").wait(Failed)
    held = shown(world)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT)

    assert refused.code == "gpu_held"
    assert "'hold' keeps what it has" in refused.message
    assert said.startswith("64MiB are yours until ")
    assert same_end(said, refused.message)
    [lease] = held["leases"]
    assert (lease["model"], lease["foreign"], lease["memory"]) == ("hold", True, 64 << 20)
    assert 19.9 * 3600 < lease["until"] - held["now"] <= 20 * 3600
    assert (process.returncode, out, err) == (0, "given back\n", "")
    Activator(world, "a").wait(Ready)


def test_hold_ends_by_itself(world: World) -> None:
    result = call(world, "lease", "hold", "--memory", "1MiB", "--for", "500ms")

    assert result.returncode == 0
    assert world.lease_is_free("+hold")
    # The description is still there, and nobody believes it.
    assert (world.layout.gpu / "lease-+hold.json").exists()
    assert shown(world)["leases"] == []


def test_killed_hold_frees_its_lease(world: World) -> None:
    process = start(world, "lease", "hold", "--memory", "1MiB", "--for", "1h")
    assert process.stdout is not None
    process.stdout.readline()
    assert not world.lease_is_free("+hold")

    process.kill()
    process.communicate()

    until(lambda: world.lease_is_free("+hold"))


def test_exclusive_evicts_what_would_fit_beside_it(world: World) -> None:
    world.share(world.host.__class__(budget=1 << 30, pace=world.host.pace))
    world.runner(process_model("a"))
    activator = Activator(world, "a")
    activator.wait(Ready)
    activator.say(Busy(0))
    beside = call(world, "lease", "run", "--memory", "1MiB", "--", "true")
    assert beside.returncode == 0
    assert not world.lease_is_free("a")

    alone = call(world, "lease", "run", "--memory", "1MiB", "--exclusive", "--", "true")

    assert alone.returncode == 0
    assert world.lease_is_free("a")


def test_pause_makes_models_go_and_refusals_name_its_end(world: World) -> None:
    # It is on its way out for as long as it takes to see that.
    world.runner(process_model("a", timeouts=Timeouts(idle=60, stall=40, start=60, drain=60)))
    activator = Activator(world, "a")
    activator.wait(Ready)

    said = call(world, "pause", "--for", "20h")
    activator.wait(Yield)
    activator.say(Yielded())
    activator.close()

    assert said.returncode == 0, said.stderr
    assert "paused until" in said.stdout
    assert "on the way out: a" in said.stdout
    until(lambda: world.lease_is_free("a"))
    refused = Activator(world, "a").wait(Failed)
    assert refused.code == "gpu_paused"
    paused = shown(world)
    assert 19.9 * 3600 < paused["pause"]["until"] - paused["now"] <= 20 * 3600
    text = call(world, "lease", "show").stdout
    assert same_end(text, said.stdout, refused.message)
    run = call(world, "lease", "run", "--memory", "1MiB", "--", "true")
    assert run.returncode == 75
    assert "the owner has paused the GPU until" in run.stderr

    assert call(world, "resume").returncode == 0
    Activator(world, "a").wait(Ready)


def test_pause_without_an_end_and_one_that_ends(world: World) -> None:
    assert "until 'spark-model resume'" in call(world, "pause").stdout
    assert shown(world)["pause"] == {"until": None}
    call(world, "pause", "--for", "300ms")

    until(lambda: shown(world)["pause"] is None)
    assert call(world, "lease", "run", "--memory", "1MiB", "--", "true").returncode == 0


def test_killed_lender_leaves_no_ticket_and_is_said(world: World) -> None:
    world.share(world.host.__class__(budget=64 << 20))
    world.runner(process_model("a"))
    busy = Activator(world, "a")
    busy.wait(Ready)
    busy.say(Busy(1))
    process = start(world, "lease", "run", "--memory", "64MiB", "--", "true")
    assert process.stderr is not None
    assert "waiting for its turn: position 1, behind a" in process.stderr.readline()
    [ticket] = shown(world)["tickets"]
    assert (ticket["model"], ticket["memory"]) == ("true", 64 << 20)
    assert ticket["why"].startswith("position 1, behind a")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    [lender] = [int(pid) for pid in children]

    os.kill(lender, signal.SIGKILL)

    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "the lender ended without an answer" in err
    until(lambda: shown(world)["tickets"] == [])


async def test_looking_wakes_nobody_and_makes_nothing(world: World) -> None:
    await look(world.layout)
    assert not world.layout.gpu.exists()

    await trio.to_thread.run_sync(
        lambda: call(world, "lease", "run", "--memory", "1MiB", "--", "true")
    )
    watch = DirectoryWatch(world.layout.gpu)
    before = sorted(world.layout.gpu.iterdir())
    await look(world.layout)

    with trio.move_on_after(0.3) as quiet:
        await watch.wait()
    watch.close()
    assert quiet.cancelled_caught
    assert sorted(world.layout.gpu.iterdir()) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_who_may_only_read_sees_all(tmp_path: Path, world: World) -> None:
    process = start(world, "lease", "hold", "--memory", "1MiB", "--for", "1h")
    assert process.stdout is not None
    process.stdout.readline()
    tmp_path.chmod(0o755)
    world.layout.gpu.chmod(0o2755)
    for file in world.layout.gpu.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o7 == 0
        file.chmod(0o644)

    result = call_as_nobody(world, "lease", "show")
    refused = call_as_nobody(world, "lease", "run", "--memory", "1MiB", "--", "true")
    world.layout.gpu.chmod(0o2750)
    blind = call_as_nobody(world, "lease", "show")
    process.kill()
    process.communicate()

    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"^hold +0\.0GiB +ready", result.stdout, re.MULTILINE)
    assert refused.returncode == 1
    assert "nobody listens on" in refused.stderr
    assert blind.returncode == 1
    assert "permission denied" in blind.stderr
    assert "Traceback" not in blind.stderr


def call_as_nobody(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The checkout may be below a directory that others cannot enter: imported before.
    code = (
        "import os, sys; sys.argv[0] = 'spark-model'; "
        "from spark_activator.cli import lease, lender, leases; "
        "from spark_activator.cli.main import main; "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main())"
    )
    from lease_world import environment

    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(world),
        capture_output=True,
        text=True,
        check=False,
    )

"""Locks between processes that are killed, and directories that engines can write."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner import upstream
from spark_activator.runner.gpu_files import alive, read_lease
from spark_activator.runner.lock import Lock, is_free, write_json
from spark_activator.runner.plan import LeaseState
from spark_activator.runner.plan_lock import under_plan
from spark_activator.runner.watch import DirectoryWatch

HOLD = """
import sys
from pathlib import Path
from spark_activator.runner.lock import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.take_nowait()
print("held", flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).parents[2]


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_lock_dies_with_its_holder_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "lease-a.lock"
    process = holder(path)
    inode = path.stat().st_ino
    assert not is_free(path)
    assert not Lock(path).take_nowait()

    end(process)

    assert is_free(path)
    assert path.stat().st_ino == inode


def test_duplicate_keeps_the_lock_and_release_frees_both(tmp_path: Path) -> None:
    path = tmp_path / "lease-a.lock"
    lock = Lock(path)
    assert lock.take_nowait()
    kept = os.dup(lock._fd)  # what systemd's store has
    again = Lock(path)
    assert again.restore(os.dup(kept))
    again.release()

    assert is_free(path)
    # A descriptor whose lock is gone is no lease, although it could be taken.
    assert not Lock(path).restore(kept)
    lock.release()


def test_restored_descriptor_has_to_be_of_this_file(tmp_path: Path) -> None:
    other = Lock(tmp_path / "other.lock")
    assert other.take_nowait()
    Lock(tmp_path / "mine.lock").take_nowait()

    assert not Lock(tmp_path / "mine.lock").restore(os.dup(other._fd))
    other.release()


def test_half_written_description_is_unknown(tmp_path: Path) -> None:
    for text in (
        '{"state": "rea',
        "[]",
        '{"state": "dancing"}',
        '{"state": []}',
        "\x00",
        "[" * 9999,
    ):
        (tmp_path / "lease-a.json").write_text(text)
        assert read_lease(tmp_path, "a").state is LeaseState.UNKNOWN


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    before = file.stat().st_ino
    write_json(file, {"a": 2})

    assert file.stat().st_ino != before
    assert list(tmp_path.iterdir()) == [file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def below(root: Path) -> Layout:
    return Layout(root, root, root, root)


async def test_looking_does_not_wake_those_who_watch(tmp_path: Path) -> None:
    import trio

    layout = below(tmp_path)
    await under_plan(layout.gpu, lambda: None)
    lock = Lock(layout.gpu / "lease-b.lock")
    assert lock.take_nowait()
    watch = DirectoryWatch(layout.gpu)
    await under_plan(layout.gpu, lambda: alive(layout.gpu, "lease"))

    with trio.move_on_after(0.3) as quiet:
        await watch.wait()
    assert quiet.cancelled_caught

    write_json(layout.gpu / "lease-b.json", {})
    with trio.fail_after(20):
        await watch.wait()
    watch.close()
    lock.release()


async def test_plan_waits_for_another_planner_and_not_for_a_dead_one(tmp_path: Path) -> None:
    import trio

    layout = below(tmp_path)
    layout.gpu.mkdir()
    process = holder(layout.gpu / "plan.lock")
    process.send_signal(signal.SIGSTOP)
    ran = []
    with trio.move_on_after(0.3):
        await under_plan(layout.gpu, lambda: ran.append(1))
    assert ran == []

    end(process)
    with trio.fail_after(20):
        await under_plan(layout.gpu, lambda: ran.append(2))
    assert ran == [2]


async def test_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineFailed) as failed:
        await under_plan(below(tmp_path / "file").gpu, lambda: None)
    assert failed.value.code == "state_unwritable"


def test_removal_follows_nothing_that_an_engine_planted(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").write_text("gold")
    parent = tmp_path / "upstream"
    upstream.make(parent, "0a1b2c3d")
    inside = parent / "0a1b2c3d"
    (inside / "link").symlink_to(treasure)
    (inside / "deep" / "er").mkdir(parents=True)
    (inside / "deep" / "er" / "file").write_text("x")
    os.mkfifo(inside / "fifo")
    (parent / "ffffffff").symlink_to(treasure)

    upstream.remove_all(parent)

    assert list(parent.iterdir()) == []
    assert (treasure / "gold").read_text() == "gold"


def test_nested_directories_end_somewhere(tmp_path: Path) -> None:
    parent = tmp_path / "upstream"
    upstream.make(parent, "0a1b2c3d")
    here = os.open(parent / "0a1b2c3d", os.O_RDONLY)
    for _ in range(200):
        os.mkdir("x" * 100, dir_fd=here)
        below = os.open("x" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    upstream.remove_all(parent)  # gives up, and says so


async def test_long_paths_can_be_connected_to(tmp_path: Path) -> None:
    parent = tmp_path / ("n" * 100)
    upstream.make(parent, "0a1b2c3d")
    listener = socket.socket(socket.AF_UNIX)
    fd = os.open(parent / "0a1b2c3d", os.O_PATH)
    listener.bind(f"/proc/self/fd/{fd}/engine.sock")
    os.close(fd)
    listener.listen()

    stream = await upstream.connect(parent, "0a1b2c3d")
    await stream.aclose()
    listener.close()

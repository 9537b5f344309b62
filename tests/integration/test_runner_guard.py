"""The memory gate and the guard of a load, with real memory and a real engine."""

from __future__ import annotations

import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_proc import FakeProc
from runner_world import TOTAL, Activator, World, opened, process_model, until

from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Timeouts
from spark_activator.protocol import Busy, Bye, Failed, Ready
from spark_activator.runner.lock import Lock
from spark_activator.runner.memory_values import GIB, parse_meminfo

# What the plan allows is not what these tests are about.
AMPLE = HostSettings(budget=64 * GIB)
pytestmark = pytest.mark.slow


def available(proc: Path) -> int:
    """Return the bytes of memory that a `/proc` says are there."""
    return parse_meminfo((proc / "meminfo").read_text())[1]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        world.share(AMPLE)
        yield world


def start(world: World, name: str) -> Activator:
    activator = Activator(world, name)
    activator.say(Busy(1))
    return activator


def share(world: World, **values: Any) -> None:
    """All memory but the floor is what there is to share."""
    world.share(replace(world.host, budget=None, **values))


@contextmanager
def lowest(proc: Path) -> Iterator[list[int]]:
    """Watch how little was available meanwhile."""
    seen, over = [available(proc)], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            seen[0] = min(seen[0], available(proc))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@contextmanager
def no_neighbours(world: World, *kept: Path) -> Iterator[FakeProc]:
    """Have memory that the engines of *world*, and the files *kept*, alone take from.

    What engines take is real, and each byte of a file stands for a KiB.  Of the machine's
    memory others take and give back as much meanwhile, and what an engine took could not
    be told from it.
    """
    over = threading.Event()

    def taken() -> int:
        started = [engine for engine in world.engines.values() if engine.process]
        pids = [pid for engine in started for pid in engine.children()]
        return sum(resident(pid) for pid in pids) + sum(
            file.stat().st_size << 10 for file in kept if file.exists()
        )

    def follow() -> None:
        while not over.wait(0.02):
            world.memory.available(TOTAL - taken())

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        yield world.memory
    finally:
        over.set()
        follower.join()


def resident(pid: int) -> int:
    """Return the bytes that a process has in memory."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (FileNotFoundError, ProcessLookupError):
        return 0


def test_load_that_takes_too_much_is_ended_before_the_host_wedges(world: World) -> None:
    if available(Path("/proc")) < 5 * GIB:
        pytest.skip("this machine has too little memory for an engine that takes too much")
    floor = TOTAL - 2 * GIB
    world.share(replace(AMPLE, floor=floor))
    with no_neighbours(world) as memory, lowest(memory.root) as seen:
        world.runner(
            process_model("a", "--hold-memory", "4GiB", "--memory-rate", "128MiB", memory=GIB)
        )
        a = start(world, "a")
        # It takes its memory more slowly where it has little of a CPU.
        failed = a.wait(Failed, limit=200)
    print(f"floor {floor / GIB:.2f} GiB, lowest {seen[0] / GIB:.2f} GiB; {failed.message}")
    assert seen[0] >= floor - GIB
    assert failed.code == "memory_short"
    assert "the load of 'a' was ended after it took" in failed.message
    assert f"{floor / GIB:.1f} GiB have to stay" in failed.message
    assert "its lease is 1.0 GiB" in failed.message
    a.close()
    until(lambda: world.engines["a"].children() == [])


def test_guard_lets_go_when_the_engine_is_ready(world: World, tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc", 16 * GIB)
    world.layout = replace(world.layout, proc=proc.root)
    world.runner(process_model("a"))
    a = start(world, "a")
    a.wait(Ready)
    proc.available(1 * GIB)
    # It serves on; longer than the guard needs for two looks.
    time.sleep(0.6)  # noqa: TID251  # nothing is to happen
    assert world.state("a")["phase"] == "ready"
    # Neither is it loading for a runner that comes back to it.
    world.units["a"].kill()
    a.close()
    again = start(world, "a")
    again.wait(Ready)
    time.sleep(0.6)  # noqa: TID251  # nothing is to happen
    assert world.state("a")["phase"] == "ready"
    proc.available(16 * GIB)  # or its end would wait for it


def test_load_is_ended_when_the_host_stands_still(world: World, tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc", 16 * GIB)
    proc.stalled(1000)
    world.layout = replace(world.layout, proc=proc.root)
    world.runner(process_model("a", "--load-time", "60"))
    over = threading.Event()
    began = time.monotonic()

    def stall() -> None:
        while not over.wait(0.1):
            proc.stalled(1000 + 0.8 * (time.monotonic() - began))

    staller = threading.Thread(target=stall)
    staller.start()
    try:
        failed = start(world, "a").wait(Failed)
    finally:
        over.set()
        staller.join()
    assert failed.code == "memory_short"
    assert "nothing on the host could go on for want of memory" in failed.message
    until(lambda: world.engines["a"].children() == [])


def test_refusal_says_what_is_needed_what_is_there_and_who_has_it(
    world: World, tmp_path: Path
) -> None:
    proc = FakeProc(tmp_path / "proc", 16 * GIB)
    world.layout = replace(world.layout, proc=proc.root)
    world.layout.gpu.mkdir(parents=True)
    (world.layout.gpu / "lease-b.json").write_text(
        json.dumps({"state": "ready", "memory": 8 * GIB})
    )
    proc.available(4 * GIB)
    share(world)
    world.runner(process_model("a", memory=5 * GIB))
    lock = Lock(world.layout.gpu / "lease-b.lock")
    assert lock.take_nowait()
    try:
        a = start(world, "a")
        failed = a.wait(Failed)
    finally:
        lock.release()
    assert failed.code == "memory_short"
    assert "needs 5.0 GiB of memory beside the 2.0 GiB that stay free" in failed.message
    assert "4.0 of 16.0 GiB are available" in failed.message
    assert "'b' has a lease of 8.0 GiB" in failed.message


def test_next_start_waits_for_memory_that_the_last_engine_keeps(
    world: World, tmp_path: Path
) -> None:
    # Memory that outlives every process of an engine, as a driver's does.
    kept = tmp_path / "kept"
    take = f"head -c {2 * GIB >> 10} /dev/zero >{kept}; "
    a_model = process_model("a", memory=2 * GIB, timeouts=Timeouts(drain=1, start=60))
    command = ("/bin/sh", "-c", take + 'exec "$@"', "sh", *a_model.command)
    world.share(replace(AMPLE, floor=TOTAL - 3 * GIB))
    with no_neighbours(world, kept):
        world.runner(replace(a_model, command=command))
        world.runner(process_model("b", memory=2 * GIB))
        a = start(world, "a")
        a.wait(Ready)
        a.say(Bye())
        a.close()
        until(lambda: world.state("a").get("phase") == "reclaiming")
        b = start(world, "b")
        until(lambda: world.state("b").get("phase") == "memory")
        # Longer than anybody waits for memory that nobody is known to give back.
        time.sleep(6)  # noqa: TID251  # nothing is to happen
        assert not world.lease_is_free("a")
        assert world.state("b")["phase"] == "memory"
        kept.unlink()
        freed = time.monotonic()
        b.wait(Ready)
        print(f"ready {time.monotonic() - freed:.2f} s after the memory was back")


@contextmanager
def dropping(world: World, act: Callable[[], bytes]) -> Iterator[list[int]]:
    """Listen as spark-drop-caches.socket does; *act* is done for each who connects."""
    asked = [0]
    path = world.layout.drop_caches_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            asked[0] += 1
            with client:
                client.sendall(act())

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        server.join()
        listener.close()


def test_page_cache_is_dropped_where_a_start_would_not_fit_beside_it(
    world: World, tmp_path: Path
) -> None:
    proc = FakeProc(tmp_path / "proc", 16 * GIB)
    proc.available(16 * GIB, free=GIB)
    world.layout = replace(world.layout, proc=proc.root)
    world.share(replace(AMPLE, drop_caches=True))
    world.runner(process_model("a", memory=4 * GIB))

    def drop() -> bytes:
        proc.available(16 * GIB)
        return b"done\n"

    with dropping(world, drop) as asked:
        start(world, "a").wait(Ready)
    assert asked == [1]
    assert "the page cache was dropped: 15.0 GiB more are free" in world.logs()


@pytest.mark.parametrize("answer", [b"", b"no", None])
def test_start_goes_on_where_the_page_cache_cannot_be_dropped(
    world: World, tmp_path: Path, answer: bytes | None
) -> None:
    proc = FakeProc(tmp_path / "proc", 16 * GIB)
    proc.available(16 * GIB, free=GIB)
    world.layout = replace(world.layout, proc=proc.root)
    world.share(replace(AMPLE, drop_caches=True))
    world.runner(process_model("a", memory=4 * GIB))
    with nullcontext() if answer is None else dropping(world, lambda: answer):
        start(world, "a").wait(Ready)
    words = "Cannot have the page cache dropped" if answer is None else "was not dropped"
    assert words in world.logs()


def test_page_cache_stays_where_nobody_said_otherwise(world: World, tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc", 16 * GIB)
    proc.available(16 * GIB, free=GIB)
    world.layout = replace(world.layout, proc=proc.root)
    share(world)
    world.runner(process_model("a", memory=4 * GIB))
    with dropping(world, lambda: b"done\n") as asked:
        start(world, "a").wait(Ready)
    assert asked == [0]


def test_what_was_taken_is_remembered(world: World) -> None:
    share(world)
    with no_neighbours(world):
        # It has all of it for a while before it is ready: time for us to see that.
        held = ("--hold-memory", "1GiB", "--compile-time", "4")
        unit = world.runner(process_model("a", *held, memory=2 * GIB))
        a = start(world, "a")
        a.wait(Ready)
        a.say(Busy(0))
        a.say(Bye())
        a.close()
        until(lambda: unit.exits == [0])
    (line,) = world.layout.history("a").read_text().splitlines()
    # The rest is the interpreter's.
    assert GIB < json.loads(line)["memory"] < 1.25 * GIB

"""How runners share the GPU, as real processes: the plan's rules as their clients see them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from runner_world import (
    PACE,
    SLOW,
    Activator,
    World,
    control,
    gated,
    opened,
    process_model,
    until,
)

from spark_activator.catalog.host import Contention
from spark_activator.catalog.model import Keep, Lifecycle
from spark_activator.facts import parse
from spark_activator.protocol import Busy, Bye, Failed, Queued, Ready, Stopping, Yield, Yielded
from spark_activator.runner.gpu_files import boottime
from spark_activator.runner.lock import write_json

# Each waits for what takes real time.
pytestmark = pytest.mark.slow

MIB = 1 << 20
# The budget of three models of the default size.
THREE = 3 * 64 * MIB
# C is 0.9 s where it was not measured: a busy model goes after 2.7 s.
QUICK = 0.003

UTILITY: dict[str, Any] = {"lifecycle": Lifecycle.UTILITY, "keep": Keep.ALWAYS}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        yield world


def come(world: World, name: str, in_flight: int = 1) -> Activator:
    activator = Activator(world, name)
    activator.say(Busy(in_flight))
    return activator


def served(world: World, name: str, in_flight: int = 0) -> Activator:
    """A client of *name* that was answered and is still there, with *in_flight* requests."""
    activator = come(world, name)
    activator.wait(Ready)
    activator.say(Busy(in_flight, held=0))
    return activator


def give_way(activator: Activator) -> str:
    reason: str = activator.wait(Yield).reason
    activator.say(Yielded())
    activator.close()
    return reason


def lease(world: World, name: str) -> dict[str, Any]:
    return described(world.layout.gpu / f"lease-{name}.json")


def ticket(world: World, name: str) -> dict[str, Any]:
    return described(world.layout.gpu / f"ticket-{name}.json")


def described(file: Path) -> dict[str, Any]:
    """What a holder says; empty where it has not yet, or no more."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return {}


def pause(world: World, seconds: float | None) -> None:
    until = None if seconds is None else boottime() + seconds
    write_json(world.layout.gpu / "pause.json", {"until": until})


def test_what_fits_together_runs_together(world: World) -> None:
    world.share(replace(world.host, budget=THREE))
    for name in "ab":
        world.runner(process_model(name))
    a, b = served(world, "a", in_flight=1), served(world, "b", in_flight=1)

    assert lease(world, "a")["state"] == lease(world, "b")["state"] == "ready"
    a.say(Bye())
    b.say(Bye())


def test_only_the_least_recently_used_goes(world: World) -> None:
    world.share(replace(world.host, budget=THREE))
    for name in "abcd":
        world.runner(process_model(name))
    clients = {name: served(world, name) for name in "cab"}
    d = come(world, "d")

    assert give_way(clients["c"]) == "'d' waits"
    d.wait(Ready)
    assert [lease(world, name)["state"] for name in "ab"] == ["ready", "ready"]


def test_busy_model_goes_when_the_waiter_is_old_enough(world: World) -> None:
    world.share(replace(world.host, pace=QUICK))
    for name in "ab":
        world.runner(process_model(name))
    a = served(world, "a", in_flight=1)
    asked = time.monotonic()
    b = come(world, "b")
    queued = b.wait(Queued)
    assert (queued.holder, queued.since) == ("a", lease(world, "a")["ready_since"])
    # A is 2.7 s; what was measured of `a` may be more than was assumed, or less.
    age = queued.due - ticket(world, "b")["since"]
    assert age == pytest.approx(2.7, abs=2)

    give_way(a)
    assert time.monotonic() - asked >= age
    b.wait(Ready)


def test_those_for_whom_it_was_brought_up_are_counted_until_they_are_served(world: World) -> None:
    world.runner(process_model("a"))
    a = come(world, "a", in_flight=3)
    a.wait(Ready)
    a.say(Busy(3, held=3))
    until(lambda: lease(world, "a")["held"] == 3)
    a.say(Busy(3, held=0))
    until(lambda: lease(world, "a")["held"] == 0)
    a.say(Busy(0, held=0))
    until(lambda: lease(world, "a")["idle_since"] is not None)
    a.say(Bye())


def test_exclusive_has_all_to_itself_and_the_utility_comes_back(world: World) -> None:
    world.share(replace(world.host, budget=THREE))
    world.runner(process_model("a"))
    world.runner(process_model("u", **UTILITY))
    world.runner(process_model("x", lifecycle=Lifecycle.EXCLUSIVE))
    a, u = served(world, "a"), served(world, "u")
    x = come(world, "x")

    assert give_way(a) == give_way(u) == "'x' waits"
    x.wait(Ready)
    assert world.lease_is_free("a")
    assert world.lease_is_free("u")
    until(lambda: ticket(world, "u").get("returning"))
    # It comes back although its runner was killed, and although nobody asks.
    world.units["u"].kill(signal.SIGKILL)
    until(lambda: world.units["u"].starts == 2)
    until(lambda: not world.ticket_is_free("u"))

    x.say(Bye())
    x.close()
    until(lambda: world.state("u").get("phase") == "ready")
    assert control(world, "u", "stop").ok


def test_utility_that_is_asked_for_while_it_is_away_waits_like_others(world: World) -> None:
    world.share(replace(world.host, budget=THREE))
    world.runner(process_model("u", **UTILITY))
    world.runner(process_model("x", lifecycle=Lifecycle.EXCLUSIVE))
    u = served(world, "u")
    x = come(world, "x")
    give_way(u)
    x.wait(Ready)
    x.say(Busy(0, held=0))

    again = come(world, "u")

    assert give_way(x) == "'u' waits"
    again.wait(Ready)
    assert control(world, "u", "stop").ok


def test_pinned_model_stays_and_who_needs_its_memory_is_refused(world: World) -> None:
    world.runner(process_model("p", keep=Keep.ALWAYS))
    world.runner(process_model("b"))
    p = served(world, "p")
    p.say(Bye())
    p.close()

    b = come(world, "b")
    refusal = b.wait(Failed)

    assert b.seen == [refusal]  # at once: it was in no queue
    assert refusal.code == "gpu_held"
    assert "'p' keeps what it has" in refusal.message
    assert world.state("p")["phase"] == "ready"
    assert control(world, "p", "stop").ok
    until(lambda: world.units["p"].exits == [0])


def test_pause_ends_what_runs_and_loads_and_refuses_with_its_end(world: World) -> None:
    world.share(replace(world.host, budget=THREE))
    world.runner(process_model("a"))
    world.runner(process_model("b", "--load-time", "600"))
    a = served(world, "a")
    b = come(world, "b")
    until(lambda: world.state("b").get("phase") == "weights")

    paused = boottime()
    pause(world, 600)

    assert give_way(a) == "the GPU is paused"
    b.wait(Stopping)
    b.close()
    refusal = come(world, "a").wait(Failed)
    assert refusal.code == "gpu_paused"
    assert "until " in refusal.message
    assert 599 - (boottime() - paused) <= refusal.retry_after <= 600
    until(lambda: world.lease_is_free("b"))

    (world.layout.gpu / "pause.json").unlink()
    served(world, "a").say(Bye())


def test_reject_refuses_where_a_busy_model_would_have_to_go(world: World) -> None:
    world.share(replace(world.host, contention=Contention.REJECT))
    for name in "ab":
        world.runner(process_model(name))
    a = served(world, "a", in_flight=1)

    refusal = come(world, "b").wait(Failed)

    assert (refusal.code, refusal.holder) == ("gpu_busy", "a")
    assert "'a'" in refusal.message
    a.say(Busy(0, held=0))
    # Who comes before that is known is refused again.
    until(lambda: lease(world, "a")["in_flight"] == 0)
    b = come(world, "b")
    give_way(a)
    b.wait(Ready)


def test_what_is_larger_than_the_budget_is_refused_with_both_sizes(world: World) -> None:
    world.runner(process_model("big", memory=1 << 30))

    refusal = come(world, "big").wait(Failed)

    assert refusal.code == "memory_short"
    assert "needs 1.0 GiB" in refusal.message
    assert "0.1 GiB are shared" in refusal.message


def test_place_is_kept_for_clients_that_come_back_and_not_for_ever(world: World) -> None:
    world.share(replace(world.host, pace=SLOW))
    for name in "ab":
        world.runner(process_model(name))
    a = served(world, "a", in_flight=1)
    b = come(world, "b")
    b.wait(Queued)
    since = ticket(world, "b")["since"]

    b.say(Busy(0))
    until(lambda: ticket(world, "b")["abandoned_at"] is not None)
    b.say(Busy(1))
    until(lambda: ticket(world, "b")["abandoned_at"] is None)
    assert ticket(world, "b")["since"] == since

    b.say(Busy(0))
    until(lambda: ticket(world, "b")["abandoned_at"] is not None)
    # Two minutes are 1.2 s now.
    world.share(replace(world.host, pace=PACE))
    b.wait(Stopping)
    until(lambda: world.ticket_is_free("b"))
    assert world.state("a")["phase"] == "ready"
    a.say(Bye())


def test_nothing_is_started_for_who_left_while_queued_and_who_comes_back_has_its_place(
    world: World,
) -> None:
    # The two minutes are as long as that: it comes back in time.
    world.share(replace(world.host, pace=SLOW))
    for name in "abc":
        world.runner(process_model(name))
    a = served(world, "a", in_flight=1)
    b = come(world, "b")
    b.wait(Queued)
    since = ticket(world, "b")["since"]
    c = come(world, "c")
    c.wait(Queued)

    b.say(Busy(0))
    until(lambda: ticket(world, "b")["abandoned_at"] is not None)
    a.say(Bye())
    a.close()
    until(lambda: world.lease_is_free("a"))
    # Its place is kept: who came later goes on waiting behind it.
    until(lambda: c.wait(Queued).ahead == ("b",))
    assert world.lease_is_free("b")
    assert not world.layout.history("b").exists()

    back = come(world, "b")
    back.wait(Ready)
    assert b.wait(Ready)
    assert world.lease_is_free("c")
    assert since < lease(world, "b")["since"]
    assert [name for name in "abc" if starts(world, name)] == ["a", "b"]
    for activator in (back, b):
        activator.say(Bye())
    c.wait(Ready)
    c.say(Bye())


def test_nothing_is_started_for_who_left_and_does_not_come_back(world: World) -> None:
    world.share(replace(world.host, pace=SLOW))
    for name in "ab":
        world.runner(process_model(name))
    a = served(world, "a", in_flight=1)
    b = come(world, "b")
    b.wait(Queued)

    b.say(Busy(0))
    until(lambda: ticket(world, "b")["abandoned_at"] is not None)
    a.say(Bye())
    a.close()
    world.share(replace(world.host, pace=PACE))
    b.wait(Stopping)

    assert not starts(world, "b")
    # Somebody who types `warm` waits without any request.
    assert control(world, "b", "warm").ok
    assert starts(world, "b")


def starts(world: World, name: str) -> bool:
    """Whether an engine of *name* was ever asked for."""
    return "lease taken" in world.units[name].log.read_text()


def test_idle_model_goes_only_when_no_other_initialises(world: World) -> None:
    world.share(replace(world.host, budget=THREE))
    gate = world.root / "gate"
    world.runner(process_model("a"))
    world.runner(gated(process_model("b"), gate))
    a = served(world, "a")
    b = come(world, "b")
    until(lambda: world.state("b").get("phase") == "weights")

    a.say(Bye())
    a.close()
    time.sleep(1)  # noqa: TID251  # it would have gone by now

    # What `b` measures while it loads must not change under it.
    assert not world.lease_is_free("a")
    gate.touch()
    b.wait(Ready)
    until(lambda: world.lease_is_free("a"))
    assert said_at(world, "b", "initialised") <= said_at(world, "a", "stops the engine")
    b.say(Bye())


def said_at(world: World, name: str, what: str) -> float:
    """When the runner of *name* said the fact *what* last."""
    facts = map(parse, world.units[name].log.read_text().splitlines())
    return max(fact.at for fact in facts if fact is not None and fact.what == what)


def test_idle_model_that_waits_to_go_is_taken_back(world: World) -> None:
    world.share(replace(world.host, budget=THREE))
    gate = world.root / "gate"
    unit = world.runner(process_model("a"))
    world.runner(gated(process_model("b"), gate))
    a = served(world, "a")
    activation = world.state("a")["activation"]
    b = come(world, "b")
    until(lambda: world.state("b").get("phase") == "weights")
    a.say(Bye())
    a.close()

    back = come(world, "a")

    assert back.wait(Ready).upstream == activation
    gate.touch()
    b.wait(Ready)
    assert (unit.starts, world.state("a")["activation"]) == (1, activation)
    back.say(Bye())
    b.say(Bye())


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """The shared directory on a disk of its own, of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk that is full")
    gpu = world.layout.gpu
    gpu.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", gpu], check=True)
    try:
        yield gpu
    finally:
        # Lazily: runners that are still ending look into it.
        subprocess.run(["umount", "--lazy", gpu], check=True)


def fill(file: Path) -> None:
    with open(file, "wb", buffering=0) as disk:
        while True:
            disk.write(bytes(4096))


def test_full_disk_refuses_who_waits_and_leaves_who_serves(world: World, small_disk: Path) -> None:
    for name in "ab":
        world.runner(process_model(name))
    a = served(world, "a", in_flight=1)
    # While something is written, what it replaces takes room as well.
    until(lambda: lease(world, "a")["held"] == 0)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)

    assert come(world, "b").wait(Failed).code == "state_unwritable"
    assert world.state("a")["phase"] == "ready"

    filler.unlink()
    b = come(world, "b")
    b.wait(Queued)
    a.say(Busy(0, held=0))
    give_way(a)
    b.wait(Ready)


@pytest.mark.parametrize("disturbed", [True, False])
def test_start_that_failed_while_another_engine_went_is_tried_once_more(
    world: World, *, disturbed: bool
) -> None:
    world.share(replace(world.host, budget=THREE))
    gate = world.root / "gate"
    world.runner(process_model("a"))
    fails = ("--exit-at-start", "1", "--exit-phase", "graphs")
    unit = world.runner(gated(process_model("b", *fails), gate))
    a = served(world, "a")
    b = come(world, "b")
    until(lambda: world.state("b").get("phase") == "weights")
    # By itself it goes only when `b` has initialised.
    a.say(Bye())
    a.close()

    if disturbed:
        assert control(world, "a", "stop").ok
    gate.touch()

    # Once: then it is the engine's own fault, and is said.
    assert b.wait(Failed).code == "start_failed"
    assert unit.log.read_text().count("initialises:") == (2 if disturbed else 1)


def test_what_a_switch_costs_is_measured(world: World) -> None:
    world.runner(process_model("a", "--load-time", "1"))
    began = time.monotonic()
    served(world, "a").say(Bye())
    until(lambda: world.lease_is_free("a"))
    took = time.monotonic() - began

    served(world, "a")

    assert 1 < lease(world, "a")["cost"] < took

"""The life of one engine, with the runner and its supervisor as real processes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from runner_world import (
    PACE,
    SLOW,
    TOTAL,
    Activator,
    World,
    control,
    gated,
    opened,
    process_model,
    until,
)

from spark_activator.catalog.model import Timeouts
from spark_activator.protocol import (
    Busy,
    Bye,
    Failed,
    Queued,
    Ready,
    Starting,
    Stopping,
    Yield,
    Yielded,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        yield world


def test_hello_ready_bye_gone(world: World) -> None:
    gate = world.root / "gate"
    unit = world.runner(gated(process_model("a"), gate))
    activator = Activator(world, "a")
    activator.say(Busy(1))
    while activator.wait(Starting).phase != "weights":
        pass
    gate.touch()
    ready = activator.wait(Ready)
    assert (world.layout.upstream("a") / ready.upstream / "engine.sock").is_socket()
    phases = [line.phase for line in activator.seen if isinstance(line, Starting)]
    assert phases[0] == "memory"
    assert world.state("a")["phase"] == "ready"

    activator.say(Busy(0))
    activator.say(Bye())
    activator.close()

    until(lambda: unit.exits == [0], what="the runner leaves")
    assert not list(world.layout.upstream("a").iterdir())
    assert world.state("a") == {}
    assert world.lease_is_free("a")
    assert unit.starts == 1


def start(world: World, name: str) -> Activator:
    activator = Activator(world, name)
    activator.say(Busy(1))
    return activator


def test_second_model_waits_for_the_busy_first_and_then_serves(world: World) -> None:
    world.share(replace(world.host, pace=SLOW))
    world.runner(process_model("a"))
    world.runner(process_model("b"))
    a = start(world, "a")
    a.wait(Ready)
    b = start(world, "b")
    queued = b.wait(Queued)
    assert (queued.position, queued.ahead) == (1, ("a",))
    until(lambda: world.state("b").get("waiting_for") == "position 1, behind a")
    time.sleep(1.5)  # noqa: TID251  # longer than the slow poll: a busy holder keeps
    assert world.state("a")["phase"] == "ready"

    a.say(Busy(0))
    until(lambda: world.state("a")["in_flight"] == 0)
    world.share(replace(world.host, pace=PACE))
    assert a.wait(Yield).reason == "'b' waits"
    a.say(Yielded())
    a.close()

    b.wait(Ready)
    assert not world.lease_is_free("b")
    assert world.lease_is_free("a")


@pytest.mark.slow
def test_idle_holder_gives_way_at_once(world: World) -> None:
    # An idle one goes after 4 s, and a busy one would go after 45 s.
    world.share(replace(world.host, pace=0.05))
    world.runner(process_model("a"))
    world.runner(process_model("b"))
    a = start(world, "a")
    a.wait(Ready)
    a.say(Busy(0))
    b = start(world, "b")
    a.wait(Yield, limit=44)
    a.say(Yielded())
    a.close()
    b.wait(Ready)


def test_three_models_are_served_in_the_order_in_which_they_came(world: World) -> None:
    world.share(replace(world.host, pace=SLOW))
    for name in "abc":
        world.runner(process_model(name))
    a = start(world, "a")
    a.wait(Ready)
    c = start(world, "c")
    c.wait(Queued)
    b = start(world, "b")
    assert b.wait(Queued).ahead == ("c", "a")
    a.say(Bye())
    a.close()
    c.wait(Ready)
    b.wait(Queued)
    c.say(Bye())
    c.close()
    b.wait(Ready)


@pytest.mark.slow
def test_drain_cap_ends_what_does_not_yield(world: World) -> None:
    world.runner(process_model("a", timeouts=Timeouts(drain=1)))
    world.runner(process_model("b"))
    a = start(world, "a")
    a.wait(Ready)
    a.say(Busy(0))
    b = start(world, "b")
    a.wait(Yield)
    # It says nothing more.
    a.wait(Stopping)
    b.wait(Ready)


def test_runner_killed_in_the_queue_keeps_its_place(world: World) -> None:
    world.share(replace(world.host, pace=SLOW))
    for name in "abc":
        world.runner(process_model(name))
    a = start(world, "a")
    a.wait(Ready)
    b = start(world, "b")
    b.wait(Queued)
    c = start(world, "c")
    c.wait(Queued)

    world.units["b"].kill()
    assert b.hear() is None
    until(lambda: not world.ticket_is_free("b"))
    again = start(world, "b")

    assert again.wait(Queued).position == 1
    assert json.loads((world.layout.gpu / "ticket-b.json").read_text())["model"] == "b"


def test_runner_killed_while_serving_hands_the_process_over(world: World) -> None:
    unit = world.runner(process_model("a"))
    a = start(world, "a")
    activation = a.wait(Ready).upstream

    unit.kill()
    assert a.hear() is None
    assert not world.lease_is_free("a")

    assert start(world, "a").wait(Ready).upstream == activation
    assert world.engines["a"].starts == 1


def test_lost_activator_is_waited_for_and_costs_no_reload(world: World) -> None:
    unit = world.runner(process_model("a"))
    a = start(world, "a")
    activation = a.wait(Ready).upstream
    a.close()
    time.sleep(1)  # noqa: TID251  # it is really gone, and not missed
    again = start(world, "a")

    assert again.wait(Ready).upstream == activation
    assert (unit.starts, world.engines["a"].starts) == (1, 1)


def test_failed_start_is_told_and_the_next_one_tried(world: World) -> None:
    world.constants["runner.rounds.LINGER"] = 600.0  # however long the next try takes
    broken = process_model("a", "--exit-at-start", "4", "--exit-message", "no such flag")
    unit = world.runner(broken)
    failed = start(world, "a").wait(Failed)
    assert failed.code == "start_failed"
    assert "no such flag" in unit.log.read_text()
    until(lambda: world.lease_is_free("a"))

    # The owner mends it; nothing has to be restarted.
    world.freeze(process_model("a"))
    start(world, "a").wait(Ready)
    assert unit.starts == 1


@pytest.mark.slow
def test_start_without_progress_fails_after_the_stall_time(world: World) -> None:
    world.runner(process_model("a", "--never-ready", timeouts=Timeouts(stall=2, start=90)))
    assert start(world, "a").wait(Failed, limit=60).code == "start_timeout"


def test_start_that_takes_too_long_fails(world: World) -> None:
    model = process_model("a", "--load-time", "90", timeouts=Timeouts(stall=90, start=2))
    world.runner(model)
    assert start(world, "a").wait(Failed, limit=60).code == "start_timeout"


def test_engine_that_serves_another_model_is_not_ready(world: World) -> None:
    model = process_model("a")
    world.runner(replace(model, command=(*model.command[:-1], "other")))
    failed = start(world, "a").wait(Failed)
    assert failed.code == "start_failed"
    assert "other" in failed.message


def test_engine_that_cannot_generate_is_not_ready_unless_nobody_probes(world: World) -> None:
    world.runner(process_model("a", "--dead-health", "error"))
    assert "generate" in start(world, "a").wait(Failed).message
    world.runner(process_model("b", "--dead-health", "error", probe=False))
    start(world, "b").wait(Ready)


@pytest.mark.parametrize("kind", ["text", "pooling", "audio"])
def test_engine_that_serves_one_kind_of_model_is_asked_what_it_serves(
    world: World, kind: str
) -> None:
    # vLLM has no chat for models that embed, rank or listen.
    world.runner(process_model("a", "--serves", kind))
    start(world, "a").wait(Ready)


def test_broken_frozen_model_refuses_that_model_alone(world: World) -> None:
    world.constants["runner.rounds.LINGER"] = 600.0  # however long the next try takes
    unit = world.runner(process_model("a"))
    world.layout.frozen("a").write_text("{")
    assert start(world, "a").wait(Failed).code == "model_file_broken"
    assert start(world, "a").wait(Failed).code == "model_file_broken"
    assert unit.starts == 1


def test_model_that_never_fits_is_refused_at_once(world: World) -> None:
    world.runner(process_model("a", memory=1 << 50))
    a = start(world, "a")
    failed = a.wait(Failed)
    assert a.seen == [failed]  # it waited for nothing
    assert failed.code == "memory_short"
    assert "1048576.0 GiB" in failed.message


def test_run_directory_that_cannot_be_written_is_told(world: World) -> None:
    world.runner(process_model("a"))
    world.layout.gpu.parent.mkdir(exist_ok=True)
    world.layout.gpu.write_text("not a directory")
    assert start(world, "a").wait(Failed).code == "state_unwritable"


def test_garbage_beside_a_lock_is_a_holder_that_nobody_knows(world: World) -> None:
    world.runner(process_model("a"))
    world.runner(process_model("b"))
    a = start(world, "a")
    a.wait(Ready)
    a.say(Busy(0))
    (world.layout.gpu / "lease-a.json").write_text("{half")
    b = start(world, "b")
    # The holder knows itself, whatever lies there.
    a.wait(Yield)
    a.say(Yielded())
    a.close()
    b.wait(Ready)


def test_bad_line_ends_its_connection_and_not_the_process(world: World) -> None:
    unit = world.runner(process_model("a"))
    a = start(world, "a")
    a.wait(Ready)
    for junk in (b"{}\n", b"x" * 20000 + b"\n", b'{"protocol":1,"role":"demand"}\n{"type":"?"}\n'):
        bad = Activator(world, "a", first=junk)
        bad.wait_closed()
    a.say(Busy(0))
    assert unit.exits == []
    assert world.state("a")["phase"] == "ready"


@pytest.mark.slow
def test_nobody_ever_came_leaves_after_five_seconds(world: World) -> None:
    unit = world.runner(process_model("a"))
    began = time.monotonic()
    unit.begin()
    until(lambda: unit.exits == [0])
    assert time.monotonic() - began > 5


def test_client_that_says_nothing_keeps_nobody(world: World) -> None:
    # Nor is it waited for as where nobody came.
    world.constants["runner.rounds.LINGER"] = 600.0
    unit = world.runner(process_model("a"))
    Activator(world, "a", first=b"").close()
    until(lambda: unit.exits == [0])


def test_stop_by_control(world: World) -> None:
    unit = world.runner(process_model("a", "--load-time", "600"))
    a = start(world, "a")
    a.wait(Starting)
    answer = control(world, "a", "stop")
    assert answer.ok
    assert a.wait(Failed).code == "shutting_down"
    a.close()
    assert world.lease_is_free("a")
    until(lambda: unit.exits == [0])

    assert control(world, "a", "stop").message == "'a' is not running"


def test_warm_starts_without_an_activator_and_keeps(world: World) -> None:
    world.runner(process_model("a"))
    answer = control(world, "a", "warm")
    assert (answer.ok, answer.message) == (True, "'a' is ready")
    assert world.state("a")["phase"] == "ready"
    start(world, "a").wait(Ready)
    assert world.engines["a"].starts == 1


def test_client_that_comes_while_the_engine_goes_is_served_by_the_next(world: World) -> None:
    world.runner(process_model("a", "--ignore-sigterm"))
    engine = world.engines["a"]
    a = start(world, "a")
    first = a.wait(Ready).upstream
    a.say(Bye())
    until(lambda: world.state("a").get("phase") == "stopping")
    b = start(world, "a")
    assert b.wait(Queued).ahead == ("a",)
    # It does not want to go: somebody helps.
    engine.kill_children()
    assert b.wait(Ready).upstream != first
    engine.kill_children()


@pytest.mark.slow
def test_history_tells_how_long_the_next_start_takes(world: World) -> None:
    world.runner(process_model("a", "--load-time", "1"))
    began = time.monotonic()
    a = start(world, "a")
    a.wait(Ready)
    took = time.monotonic() - began
    a.say(Bye())
    a.close()
    until(lambda: world.lease_is_free("a"))
    history = world.layout.history("a")
    # It is there before its first line is.
    until(lambda: history.exists() and history.read_text().endswith("\n"))
    with open(history, "a") as file:
        file.write('{"torn')

    entry = json.loads(history.read_text().splitlines()[0])
    assert entry["why"] == "nobody wants it"
    assert 1 <= entry["start"] <= took
    b = start(world, "a")
    b.wait(Ready)
    etas = [line.eta for line in b.seen if isinstance(line, Starting) and line.eta is not None]
    assert etas
    assert max(etas) <= entry["start"] + 1


def test_sigterm_in_the_queue_leaves_it(world: World) -> None:
    world.share(replace(world.host, pace=SLOW))
    world.runner(process_model("a"))
    world.runner(process_model("b"))
    start(world, "a").wait(Ready)
    b = start(world, "b")
    b.wait(Queued)

    world.units["b"].kill(signal.SIGTERM)

    b.wait(Stopping)
    b.close()
    until(lambda: world.units["b"].exits == [0])
    assert world.ticket_is_free("b")


def test_sigterm_while_loading_leaves_nothing(world: World) -> None:
    unit = world.runner(process_model("a", "--load-time", "600"))
    a = start(world, "a")
    while a.wait(Starting).phase != "weights":
        pass

    unit.kill(signal.SIGTERM)

    a.wait(Stopping)
    a.close()
    until(lambda: unit.exits == [0])
    assert world.engines["a"].children() == []
    assert world.lease_is_free("a")


@pytest.mark.slow
def test_lease_is_kept_until_the_memory_is_back(world: World) -> None:
    world.share(replace(world.host, budget=1 << 30))
    world.runner(process_model("a", memory=1 << 30))
    a = start(world, "a")
    a.wait(Ready)
    # An engine whose memory is slow to come back looks like this from outside.
    world.memory.available(TOTAL - (1 << 30))
    a.say(Bye())
    a.close()
    until(lambda: world.state("a").get("phase") == "reclaiming")
    assert not world.lease_is_free("a")
    world.memory.available(TOTAL)
    until(lambda: world.lease_is_free("a"))

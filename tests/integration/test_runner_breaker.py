"""The breaker, the hold and events, with runners as real processes."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from runner_world import LIMIT, Activator, World, control, opened, process_model, until

from spark_activator.catalog.model import Model
from spark_activator.protocol import Busy, Failed, Ready
from spark_activator.runner import breaker

# Each waits for what takes real time.
pytestmark = pytest.mark.slow

FAILS = process_model("a", "--exit-at-start", "3")
USAGE = "engine: error: unrecognized arguments: --fast"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as world:
        yield world


def fail(world: World) -> Failed:
    activator = Activator(world, "a")
    activator.say(Busy(1))
    failed = activator.wait(Failed)
    activator.close()
    assert isinstance(failed, Failed)
    return failed


def serve(world: World) -> None:
    activator = Activator(world, "a")
    activator.say(Busy(1))
    activator.wait(Ready)
    activator.close()


def engine_starts(world: World) -> int:
    log = (world.root / "runner-a.log").read_text()
    return log.count("of the engine")


def record(world: World) -> breaker.Record:
    return breaker.from_json(world.layout.breaker("a").read_text())


def test_two_failures_open_it_and_the_third_request_starts_nothing(world: World) -> None:
    world.constants["runner.rounds.LINGER"] = 600.0  # however long the next try takes
    world.runner(FAILS)
    since = time.monotonic()
    assert [fail(world).code for _ in range(2)] == ["start_failed"] * 2
    began = engine_starts(world)

    refused = fail(world)
    took = time.monotonic() - since

    assert refused.code == "breaker_open"
    assert "spark-model reset a" in refused.message
    assert "another is tried in" in refused.message
    assert refused.retry_after is not None
    assert 59 - took <= refused.retry_after <= 60
    assert engine_starts(world) == began == 2
    # It outlives the process.
    unit = world.units["a"]
    unit.kill(signal.SIGTERM)
    until(lambda: unit.exits == [0])
    assert fail(world).code == "breaker_open"
    assert unit.starts == 2


def test_reset_lets_it_start_and_success_forgets(world: World) -> None:
    world.constants["runner.rounds.LINGER"] = 600.0  # however long the next try takes
    unit = world.runner(FAILS)
    fail(world)
    fail(world)
    assert fail(world).code == "breaker_open"

    assert control(world, "a", "reset").ok

    assert fail(world).code == "start_failed"
    assert record(world).streak == 1
    world.freeze(process_model("a"))
    serve(world)
    assert record(world).streak == 0
    assert unit.exits == []


def test_who_tries_again_after_an_engine_that_exited_finds_the_same_runner(world: World) -> None:
    world.constants["runner.rounds.LINGER"] = 600.0  # however long the next try takes
    unit = world.runner(FAILS)
    fail(world)
    until(lambda: world.lease_is_free("a"))
    time.sleep(1)  # noqa: TID251  # it would have gone by now

    assert fail(world).code == "start_failed"
    assert (unit.starts, unit.exits) == (1, [])


def test_wrong_flag_waits_for_another_file(world: World) -> None:
    wrong = process_model("a", "--exit-at-start", "2", "--exit-message", USAGE)
    world.runner(wrong)
    fail(world)

    refused = fail(world)

    assert refused.code == "breaker_open"
    assert "refuses its settings" in refused.message
    world.freeze(process_model("a"))
    serve(world)


def test_out_of_memory_waits_for_memory(world: World) -> None:
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    world.runner(process_model("a", "--exit-at-start", "1", "--exit-message", words))
    fail(world)
    assert "ran out of memory" in fail(world).message
    last = record(world).failures[-1]

    enough = replace(last, enough=1)
    world.layout.breaker("a").write_text(breaker.to_json(breaker.Record((enough,), 1)))

    assert fail(world).code == "start_failed"


def test_what_is_recorded_is_recorded_before_it_is_said(world: World) -> None:
    unit = world.runner(FAILS)
    for _ in range(2):
        activator = Activator(world, "a")
        activator.say(Busy(1))
        activator.wait(Failed)
        unit.kill()
        activator.close()

    until(lambda: fail(world).code == "breaker_open")


def test_half_written_record_is_a_pause_and_no_end(world: World) -> None:
    world.runner(process_model("a"))
    file = world.layout.breaker("a")
    file.parent.mkdir(parents=True)
    file.write_text('{"failures":[{"time":17')

    assert fail(world).code == "breaker_open"

    late = [replace(f, time=time.time() - 61) for f in record(world).failures]
    file.write_text(breaker.to_json(breaker.Record(tuple(late), 2)))
    serve(world)


def test_clock_that_was_set_back_locks_nobody_out(world: World) -> None:
    world.runner(FAILS)
    fail(world)
    fail(world)
    future = [replace(f, time=time.time() + 1e8) for f in record(world).failures]
    world.layout.breaker("a").write_text(breaker.to_json(breaker.Record(tuple(future), 2)))

    refused = fail(world)

    assert refused.code == "breaker_open"
    assert refused.retry_after is not None
    assert refused.retry_after <= 60


def test_restored_lease_is_never_refused(world: World) -> None:
    unit = world.runner(process_model("a"))
    activator = Activator(world, "a")
    activator.say(Busy(1))
    activator.wait(Ready)
    world.layout.breaker("a").parent.mkdir(parents=True, exist_ok=True)
    world.layout.breaker("a").write_text(breaker.to_json(breaker.unreadable(time.time())))

    unit.kill()

    serve(world)
    assert unit.starts == 2


def test_hold_ends_it_and_holds_until_it_is_warmed(world: World) -> None:
    unit = world.runner(process_model("a"))
    serve(world)

    assert control(world, "a", "hold").ok

    assert fail(world).code == "model_held"
    until(lambda: unit.exits)
    assert fail(world).code == "model_held"
    assert "is held" in control(world, "a", "reset").message
    assert fail(world).code == "model_held"
    assert control(world, "a", "warm").message == "'a' is ready"
    serve(world)


def test_hold_of_a_model_that_does_not_run_and_warm_that_is_refused(world: World) -> None:
    world.runner(FAILS)
    assert control(world, "a", "hold").ok
    assert fail(world).code == "model_held"

    assert not control(world, "a", "warm").ok
    assert not control(world, "a", "warm").ok
    refused = control(world, "a", "warm")

    assert not refused.ok
    assert "spark-model reset a" in refused.message


def test_held_engine_of_a_runner_that_was_killed_is_ended(world: World) -> None:
    unit = world.runner(process_model("a"))
    activator = Activator(world, "a")
    activator.say(Busy(1))
    activator.wait(Ready)
    world.layout.hold("a").parent.mkdir(parents=True, exist_ok=True)
    world.layout.hold("a").touch()

    unit.kill()

    until(lambda: world.lease_is_free("a"))
    assert fail(world).code in ("shutting_down", "model_held")


def listen(world: World) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(world.layout.event_socket))
    listener.listen()
    listener.settimeout(LIMIT)
    world.share(replace(world.host, on_event=("cat",)))
    return listener


def hear(listener: socket.socket) -> dict[str, object]:
    connection, _ = listener.accept()
    with connection, connection.makefile() as lines:
        return dict(json.loads(lines.readline()))


def run(world: World, model: Model) -> None:
    world.freeze(model)
    world.runner(model)


def test_events_are_said(world: World) -> None:
    run(world, FAILS)
    with listen(world) as listener:
        fail(world)
        fail(world)
        said = [hear(listener) for _ in range(3)]

    assert [line["event"] for line in said] == ["failed", "failed", "breaker_open"]
    assert {line["model"] for line in said} == {"a"}
    assert said[2]["code"] == "breaker_open"


def test_nobody_waits_for_whoever_does_not_take_events(world: World) -> None:
    run(world, FAILS)
    with listen(world) as listener:
        listener.listen(0)
        for _ in range(2):
            fail(world)
        assert fail(world).code == "breaker_open"


def test_eviction_names_for_whom(world: World) -> None:
    run(world, process_model("a"))
    run(world, process_model("b"))
    with listen(world) as listener:
        a = Activator(world, "a")
        a.wait(Ready)
        a.say(Busy(0))
        b = Activator(world, "b")
        said = hear(listener)
        a.close()
        b.close()

    assert (said["event"], said["model"], said["for"]) == ("evicted", "a", "b")

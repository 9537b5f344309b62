"""Looking at models: from files alone, for people and for programs."""

import json
import time

import pytest

from spark_activator.catalog.frozen import config_hash
from spark_activator.cli import models, tables
from spark_activator.runner import breaker, breaker_file, history
from spark_activator.runner.breaker import Cause, Failure, Record
from spark_activator.state import Phase, State


def say(machine, name, phase, **values):
    """Write what a runner says of itself."""
    since = time.clock_gettime(time.CLOCK_BOOTTIME) - values.pop("elapsed", 0.0)
    path = machine.layout.state_file(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(State(name, phase, since, **values).to_json())


def test_list_says_port_and_whether_it_is_switched_on(machine, out):
    machine.freeze("a", summary="first")
    machine.freeze("b", port=18101)
    machine.enable("b")
    (machine.layout.markers / "b").touch()

    assert machine.run("list") == 0

    assert out() == (
        "MODEL  PORT   ENABLED  STATE        SUMMARY\n"
        "a      18100  no       not enabled  first\n"
        "b      18101  yes      listening\n"
    )


def test_list_of_a_bare_machine_names_the_next_command(machine, out):
    assert machine.run("list") == 0

    assert out() == "no models (run: sudo spark-model apply)\n"


def test_broken_frozen_file_is_shown_beside_the_others(machine, out):
    machine.freeze("a")
    machine.layout.frozen("b").write_text("{")

    assert machine.run("list") == 0

    assert "\na " in out()
    machine.run("list", "--json")
    assert [entry["problem"] is None for entry in json.loads(out())] == [True, False]


@pytest.mark.parametrize("phase", list(Phase))
def test_status_names_every_phase_and_what_is_waited_for(machine, out, phase):
    machine.freeze("a")
    # 3 h 20 min 15 s: a machine that is busy may take some of the next minute.
    say(machine, "a", phase, waiting_for="the engine to say so", elapsed=12_015.0)

    machine.run("status")
    assert f"a      3h 20min  {phase}: the engine to say so\n" in out()

    machine.run("status", "a")
    text = out()
    assert f"Phase: {phase}\n" in text
    assert "Since: 3h 20min ago\n" in text
    assert "Waiting for: the engine to say so\n" in text


def test_status_of_a_queued_model_names_who_is_before_it(machine, out):
    machine.freeze("a")
    say(machine, "a", Phase.QUEUED, position=2, ahead=("b", "c"), in_flight=3)

    machine.run("status", "a")

    text = out()
    assert "Position: 2, behind b, c\n" in text
    assert "In flight: 3\n" in text


def test_status_shows_the_lease(machine, out):
    machine.freeze("a")
    say(machine, "a", Phase.READY)
    machine.layout.gpu.mkdir()
    lease = {"model": "a", "memory": 24 << 30, "state": "ready"}
    (machine.layout.gpu / "lease-a.json").write_text(json.dumps(lease))

    machine.run("status", "a")

    assert "Lease: 24GiB, ready\n" in out()


def test_status_for_programs_says_the_same(machine, out):
    machine.freeze("a")
    machine.freeze("b", port=18101)
    say(machine, "a", Phase.WEIGHTS, progress=0.5, activation="0a1b2c3d", elapsed=10.0)

    machine.run("status", "a", "--json")
    one = json.loads(out())
    machine.run("status", "--json")
    every = json.loads(out())

    assert one["state"]["phase"] == "weights"
    assert one["state"]["progress"] == 0.5
    assert 10.0 <= one["state"]["elapsed"] < 20.0
    assert [entry["name"] for entry in every] == ["a", "b"]
    assert every[1]["state"] is None


def test_state_that_is_half_a_line_is_no_state(machine, out):
    machine.freeze("a")
    machine.layout.state_file("a").parent.mkdir()
    machine.layout.state_file("a").write_text('{"model": "a", "pha')

    assert machine.run("status", "a") == 0

    assert "State: not running" in out()


@pytest.mark.parametrize("name", ["gtp-oss", "../config/host", ".host", ""])
@pytest.mark.parametrize("command", ["status", "stop", "logs"])
def test_unknown_name_is_a_sentence(machine, capsys, name, command):
    machine.freeze("gpt-oss")

    assert machine.run(command, name) == 1

    assert capsys.readouterr().err.startswith(f"spark-model: unknown model '{name}' (hint: ")


def test_nearest_name_is_in_the_hint(machine, capsys):
    machine.freeze("gpt-oss")

    machine.run("status", "gtp-oss")

    assert capsys.readouterr().err.endswith("(hint: did you mean gpt-oss?)\n")


def test_retired_name_says_why_and_what_to_use(machine, capsys):
    machine.layout.vendor_models.mkdir(exist_ok=True)
    (machine.layout.vendor_models / "retired.yaml").write_text(
        "old-20b: {reason: no checkpoint loads, instead: gpt-oss}\n"
    )

    assert machine.run("status", "old-20b") == 1

    said = "spark-model: model 'old-20b' is no more: no checkpoint loads (hint: use 'gpt-oss')\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0s"),
        (59.9, "59s"),
        (60, "1min"),
        (200, "3min 20s"),
        (90061, "1d 1h"),
        (3601, "1h 1s"),
    ],
)
def test_spans_have_the_two_greatest_units(seconds, words):
    assert tables.span(seconds) == words


def test_status_says_what_a_model_really_took(machine, out):
    machine.freeze("a", memory=20 << 30)
    model = models.load(machine.layout, "a")
    machine.run("status", "a")
    assert "Took" not in out()

    entry = {"config": config_hash(model), "memory": 12 << 30}
    history.append(machine.layout.history("a"), entry)
    machine.run("status", "a")
    assert "Took: 12.0 GiB at most, while it loaded (it took 12.0 GiB" in out()
    machine.run("status", "a", "--json")
    assert json.loads(out())["took"] == {"memory": 12 << 30, "verdict": "wasteful"}


def test_status_says_that_it_is_held_and_how_the_last_start_failed(machine, out):
    machine.freeze("a")
    breaker_file.hold(machine.layout, "a")
    failure = Failure(time.time(), Cause.OTHER, "start_failed", "exited with status 1", "x", 0)
    record = breaker.after_failure(Record(), failure)
    assert breaker_file.write(machine.layout, "a", record)

    machine.run("status", "a")
    said = out()

    assert "Held: until: spark-model warm a" in said
    assert "start_failed: exited with status 1" in said


def test_status_of_a_broken_record_is_no_traceback(machine, out):
    machine.freeze("a")
    file = machine.layout.breaker("a")
    file.parent.mkdir(parents=True)
    file.write_text('{"fail')

    machine.run("status", "a")

    assert "Failed start: not known" in out()

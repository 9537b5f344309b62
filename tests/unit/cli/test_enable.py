"""`enable`: what it asks of systemd and the other parts, in which order, and when it stops."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from spark_activator.catalog import frozen
from spark_activator.catalog.model import Engine, Model, Sizing, Source
from spark_activator.cli import enable, files, image, pull
from spark_activator.doctor import checks, world
from spark_activator.doctor.facts import Finding
from spark_activator.state import Phase, State

# It knows what is enabled and what listens by files in $FAKE, and says what it was asked.
SYSTEMCTL = """#!/bin/sh
[ "$1" = --user ] && shift
case "$1" in
is-active) [ -e "$FAKE/$3" ] ;;
show) [ -e "$FAKE/outdated" ] && echo NeedDaemonReload=yes || echo NeedDaemonReload=no ;;
*) echo "$*" >>"$FAKE/calls" ;;
esac || exit 3
case "$1 $2" in
"--no-reload enable")
    mkdir -p "$UNITS/sockets.target.wants"
    ln -s /usr/lib/systemd/system/spark-model@.socket "$UNITS/sockets.target.wants/$3" ;;
"start spark-model@"*) : >"$FAKE/$2" ;;
esac
"""
GIB = 1 << 30


@pytest.fixture
def systemctl(tmp_path, machine, monkeypatch):
    """Have a systemctl that answers; return how to take what it was asked to do."""
    fake = tmp_path / "fake"
    fake.mkdir()
    program = fake / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(fake))
    monkeypatch.setenv("UNITS", str(machine.units))
    monkeypatch.setattr(checks, "examine", lambda layout, units: [])

    def calls():
        file = fake / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    return calls


def test_one_command_writes_enables_and_starts(machine, systemctl, out):
    machine.model_file("mine")
    machine.model_file("other", port=18301)

    assert machine.run("enable", "mine") == 0

    # Without a reload: on some machines it takes the GPU from running containers.
    assert systemctl() == [
        "--no-reload enable spark-model@mine.socket",
        "start spark-model@mine.socket",
    ]
    assert json.loads(machine.layout.frozen("mine").read_text())["port"] == 18300
    assert (machine.units / "spark-model@mine.socket.d/10-port.conf").exists()
    assert not machine.layout.frozen("other").exists()
    said = out()
    assert "'mine' is on: port 18300" in said
    assert "has not started here yet: the first start may take up to 2h" in said
    assert 'spark-model chat mine "Hello"' in said


def test_second_time_does_nothing(machine, systemctl, out):
    machine.model_file("mine")
    machine.run("enable", "mine")
    systemctl()
    before = machine.files()

    assert machine.run("enable", "mine") == 0

    assert systemctl() == []
    # The list for nginx is written anew in any case.
    stale = str((machine.layout.markers / ".stale").relative_to(machine.units.parent))
    assert machine.files() == before | {stale: machine.files()[stale]}


def test_what_was_interrupted_goes_on(machine, systemctl):
    machine.model_file("mine")
    machine.run("apply")
    machine.enable("mine")

    machine.run("enable", "mine")

    assert systemctl() == ["start spark-model@mine.socket"]


def test_drop_in_that_systemd_does_not_know_yet_costs_a_reload(machine, systemctl, tmp_path):
    machine.model_file("mine")
    (tmp_path / "fake/outdated").touch()

    machine.run("enable", "mine")

    assert systemctl()[1:] == ["daemon-reload", "start spark-model@mine.socket"]


def test_changed_file_of_a_running_model_is_left_and_said(machine, systemctl, out):
    machine.model_file("mine")
    machine.run("enable", "mine")
    machine.model_file("mine", memory="2GiB")
    before = machine.layout.frozen("mine").read_text()

    machine.run("enable", "mine")

    assert machine.layout.frozen("mine").read_text() == before
    assert "sudo spark-model update mine" in out()


def with_image(machine, name="mine"):
    machine.layout.owner_images.write_text("some: {reference: some/image, pinned: false}\n")
    path = machine.layout.owner_models / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("source: {model: a/b}\nimage: some\nmemory: 1GiB\nport: 18300\n")


def test_image_and_weights_come_before_the_socket(machine, systemctl, monkeypatch):
    with_image(machine)
    steps = []

    def fetch(layout, name):
        steps.append(f"image {name} after {systemctl()}")

    def weights(layout, model):
        steps.append(f"weights of {model.source.model} after {systemctl()}")

    monkeypatch.setattr(image, "ensure", fetch, raising=False)
    monkeypatch.setattr(pull, "ensure", weights, raising=False)

    assert machine.run("enable", "mine") == 0

    assert steps == ["image some after []", "weights of a/b after []"]
    assert len(systemctl()) == 2


def test_docker_away_stops_a_container_and_not_a_process(machine, systemctl, monkeypatch, capsys):
    gone = Finding("docker", "problem", "Docker does not answer", "start it")
    monkeypatch.setattr(checks, "examine", lambda layout, units: [gone])
    machine.model_file("process", port=18301)
    with_image(machine)

    assert machine.run("enable", "mine") == 1
    said = capsys.readouterr().err
    assert "'mine' cannot start: Docker does not answer (hint: start it)" in said
    assert systemctl() == []
    assert machine.run("enable", "process") == 0
    assert "Docker" not in capsys.readouterr().err


def test_other_problems_are_said_and_stop_nothing(machine, systemctl, monkeypatch, capsys):
    full = Finding("disk", "problem", "the disk is full", "empty it")
    monkeypatch.setattr(checks, "examine", lambda layout, units: [full])
    machine.model_file("mine")

    assert machine.run("enable", "mine") == 0
    said = capsys.readouterr().err
    assert "disk: the disk is full" in said
    assert "-> empty it" in said


def test_taken_port_stops(machine, systemctl, monkeypatch, capsys):
    machine.model_file("mine")
    monkeypatch.setattr(world, "ports_in_use", lambda layout: {18300: {"127.0.0.1"}})

    assert machine.run("enable", "mine") == 1

    assert "port 18300 of 'mine' is taken by another program" in capsys.readouterr().err
    assert systemctl() == []
    assert not machine.layout.frozen("mine").exists()


def test_names_that_cannot_be_enabled(machine, systemctl, capsys):
    machine.model_file("qwen-small", aliases="[a-nick]")
    machine.model_file("off", port=18301, status="{disabled: it lies}")
    machine.model_file("broken", port=18302, memory="much")
    machine.layout.vendor_models.mkdir()
    (machine.layout.vendor_models / "retired.yaml").write_text(
        "old: {reason: it was withdrawn, instead: qwen-small}\n"
    )
    expected = {
        "qwen-smal": "unknown model 'qwen-smal' (hint: did you mean qwen-small?)",
        "off": "'off' is disabled: it lies",
        "broken": "broken.yaml: memory: ",
        "a-nick": "'a-nick' is a name of 'qwen-small' (hint: run: sudo spark-model enable q",
        "old": "model 'old' is no more: it was withdrawn (hint: use 'qwen-small')",
    }
    for name, words in expected.items():
        assert machine.run("enable", name) == 1
        assert words in capsys.readouterr().err
    assert systemctl() == []


def test_without_rights_it_says_sudo(machine, systemctl, monkeypatch, capsys):
    machine.model_file("mine")
    monkeypatch.setattr(files, "may_write", lambda directory: False)

    assert machine.run("enable", "mine") == 1

    assert "sudo spark-model enable mine" in capsys.readouterr().err
    assert systemctl() == []


MODEL = Model(name="mine", port=1, engine=Engine.VLLM, source=Source("a/b"), memory=80 * GIB)


def test_first_start_by_history(machine):
    file = machine.layout.history("mine")
    file.parent.mkdir()
    entry = {"config": frozen.config_hash(MODEL), "start": 312.0}
    file.write_text(json.dumps(entry) + "\n")

    assert enable.first_start(machine.layout, MODEL) == (
        "a start takes about 5min 12s, as the last ones did"
    )


def test_first_start_by_weights_says_that_it_is_an_estimate(machine):
    sized = replace(MODEL, sizing=Sizing(weights=61 * GIB, kv=GIB, overhead=GIB))

    said = enable.first_start(machine.layout, sized)

    assert "estimate: 1min 1s to read 61.0 GiB of weights at an assumed 1 GiB/s" in said
    assert "given up after 2h" in said
    small = replace(MODEL, sizing=Sizing(weights=1 << 20, kv=GIB, overhead=GIB))
    assert "1s to read 1.0 MiB of weights" in enable.first_start(machine.layout, small)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State("mine", Phase.READY, 1.0), "it has been asked for already: ready"),
        (
            State("mine", Phase.WEIGHTS, 1.0, waiting_for="its weights", progress=0.5),
            "it has been asked for already: weights: its weights, 50%",
        ),
    ],
)
def test_model_that_runs_is_not_said_to_have_never_started(machine, state, words):
    # The history gets a start only when its activation has ended.
    file = machine.layout.state_file("mine")
    file.parent.mkdir(parents=True)
    file.write_text(state.to_json())

    assert enable.first_start(machine.layout, MODEL) == words

"""The commands by which other programs have the GPU: arguments, and what is looked at."""

import fcntl
import json
import os
import time

import pytest

from spark_activator.catalog import frozen
from spark_activator.catalog.frozen import config_hash
from spark_activator.catalog.host import HostSettings
from spark_activator.cli import tables
from spark_activator.runner import history

GIB = 1 << 30


@pytest.fixture
def held(machine):
    """Have *name* hold a lease of so many GiB, as a process that lives would."""
    fds = []
    machine.layout.frozen_host.parent.mkdir(parents=True)
    machine.layout.frozen_host.write_text(frozen.dump_host(HostSettings(budget=10 * GIB)))
    machine.layout.gpu.mkdir()
    (machine.layout.gpu / "plan.lock").touch()

    def hold(name, memory, **more):
        fd = os.open(machine.layout.gpu / f"lease-{name}.lock", os.O_RDONLY | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        fds.append(fd)
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        # 3 h 20 min 15 s: a machine that is busy may take some of the next minute.
        body = dict.fromkeys(("since", "ready_since", "idle_since"), now - 12_015)
        body |= {"state": "ready", "memory": memory * GIB, **more}
        (machine.layout.gpu / f"lease-{name}.json").write_text(json.dumps(body))

    yield hold
    for fd in fds:
        os.close(fd)


def test_show_says_who_has_what(machine, out, held):
    held("a", 4)
    held("b", 2, in_flight=3, idle_since=None)
    held("+comfyui", 3, foreign=True)
    (machine.layout.gpu / "lease-stale.lock").touch()
    (machine.layout.gpu / "lease-stale.json").write_text('{"state": "ready", "memory": 1}')

    assert machine.run("lease", "show") == 0

    head, *rows, total = out().splitlines()
    assert head.split() == ["WHO", "MEMORY", "STATE", "SINCE", "WHY"]
    assert [row.split(maxsplit=5) for row in rows] == [
        ["comfyui", "3.0GiB", "ready", "3h", "20min", "a program, never asked to go"],
        ["a", "4.0GiB", "ready", "3h", "20min", "idle"],
        ["b", "2.0GiB", "ready", "3h", "20min", "3 in flight"],
    ]
    assert total.startswith("9.0GiB of 10.0GiB leased; of ")


def test_show_for_programs_has_every_field(machine, out, held):
    held("+x", 4, foreign=True, until=2**40, lifecycle="exclusive")

    machine.run("lease", "show", "--json")

    shown = json.loads(out())
    assert (shown["budget"], shown["leased"], shown["pause"]) == (10 * GIB, 10 * GIB, None)
    assert shown["memory"].keys() >= {"total", "available"}
    [lease] = shown["leases"]
    assert (lease["model"], lease["until"], lease["lifecycle"]) == ("x", 2**40, "exclusive")


def test_what_if_tells_evictions_and_the_cold_start(machine, out, held):
    held("a", 4)
    held("b", 4)
    model = machine.freeze("c", memory=6 * GIB)
    machine.freeze("d", memory=2 * GIB, port=18101)
    for start in (50.0, 70.0, 65.0):
        entry = {"config": config_hash(model), "start": start, "stop": 5.0}
        history.append(machine.layout.history("c"), entry)

    assert machine.run("what-if", "d", "c") == 0

    # When d is there all 10 GiB are leased, and 6 have to go: the least recently used.
    assert out().splitlines() == [
        "d: fits; beside a, b; cold start: not measured yet",
        "c: evicts a, b; beside d; cold start: about 1min 5s",
    ]


def test_what_if_says_that_a_foreign_lease_refuses(machine, out, held):
    held("+train", 8, foreign=True)
    machine.freeze("c", memory=6 * GIB)

    machine.run("what-if", "c")

    assert out().startswith("c: refused: 'c' needs 6.0 GiB of memory, and 'train' keeps")


def test_what_if_of_an_unknown_model(machine, capsys):
    machine.freeze("qwen3")

    assert machine.run("what-if", "qwen") == 1
    assert "did you mean qwen3?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--", "true"), "--memory"),
        (("run", "--memory", "40", "--", "true"), "expected a size such as '24GiB'"),
        (("hold", "--memory", "1GiB"), "--for"),
        (("hold", "--memory", "1GiB", "--for", "7"), "expected a duration such as '20min'"),
    ],
)
def test_wrong_arguments(machine, capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        machine.run("lease", *arguments)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_run_without_a_command(machine, capsys):
    assert machine.run("lease", "run", "--memory", "1GiB", "--") == 1
    assert "no command to run" in capsys.readouterr().err


def test_clock_names_the_day_when_it_is_another():
    now = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert len(tables.clock(now)) in (8, 19)  # the second may be the last of a day
    assert len(tables.clock(now + 48 * 3600)) == 19

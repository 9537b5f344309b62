"""`apply` and `update`: what they write, what they leave alone, what they say."""

import json
import os

import pytest

from spark_activator.cli import apply, routes
from spark_activator.cli.units import Units


def frozen_memory(machine, name):
    return json.loads(machine.layout.frozen(name).read_text())["memory"] >> 30


def test_apply_writes_frozen_model_and_port(machine, out):
    machine.model_file("mine")

    assert machine.run("apply") == 0

    assert "mine: create" in out()
    port = machine.units / "spark-model@mine.socket.d/10-port.conf"
    assert "ListenStream=127.0.0.1:18300\n" in port.read_text()
    assert frozen_memory(machine, "mine") == 1
    # It may hold a token.
    assert machine.layout.frozen("mine").stat().st_mode & 0o777 == 0o640
    assert (machine.layout.markers / ".stale").exists()


def test_second_apply_writes_nothing(machine, out):
    machine.model_file("mine", timeouts="{drain: 5s}")
    machine.model_file("other", port=18301)
    machine.run("apply")
    (machine.layout.markers / ".stale").unlink()
    before = machine.files()
    out()

    assert machine.run("apply") == 0

    assert out() == "nothing to write\n"
    assert machine.files() == before


def test_apply_says_only_what_changed(machine, out):
    machine.model_file("mine")
    machine.model_file("other", port=18301)
    machine.run("apply")
    machine.model_file("other", port=18301, memory="2GiB")
    out()

    machine.run("apply")

    assert out() == f"other: change {machine.layout.frozen('other')}\n"


def test_dry_run_shows_a_diff_and_writes_nothing(machine, out):
    machine.model_file("mine")
    machine.run("apply")
    machine.model_file("mine", memory="2GiB")
    before = machine.files()
    out()

    assert machine.run("apply", "--dry-run") == 0

    path = machine.layout.frozen("mine")
    text = out()
    assert text.startswith(f"--- {path}\n+++ {path}\n@@ ")
    assert '-  "memory": 1073741824,\n+  "memory": 2147483648,\n' in text
    assert machine.files() == before


def test_dry_run_on_a_bare_machine_creates_no_directory(machine):
    machine.model_file("mine")

    machine.run("apply", "--dry-run")

    assert not machine.units.exists()
    assert not machine.layout.frozen("mine").parent.exists()


def test_model_that_is_switched_on_is_left_as_it_runs(machine, out):
    machine.model_file("mine")
    machine.run("apply")
    machine.enable("mine")
    machine.model_file("mine", memory="2GiB", port=18305)
    before = machine.files()
    out()

    assert machine.run("apply") == 0

    assert out() == "mine: pending (run: sudo spark-model update mine)\nnothing to write\n"
    assert machine.files() == before


def test_model_that_is_switched_on_without_ever_having_been_frozen_is_frozen(machine, out):
    machine.model_file("mine")
    machine.enable("mine")

    machine.run("apply")

    assert frozen_memory(machine, "mine") == 1
    # Its socket may listen on what its owner wrote by hand.
    assert not (machine.units / "spark-model@mine.socket.d").exists()
    assert "mine: pending (run: sudo spark-model update mine)\n" in out()


def test_update_shows_and_makes_the_change_of_one_model(machine, out):
    machine.model_file("mine")
    machine.model_file("other", port=18301)
    machine.run("apply")
    for name, port in (("mine", 18300), ("other", 18301)):
        machine.enable(name)
        machine.model_file(name, memory="2GiB", port=port)
    out()

    assert machine.run("update", "mine") == 0

    text = out()
    assert '+  "memory": 2147483648,\n' in text
    assert text.endswith("mine is updated\n")
    assert (frozen_memory(machine, "mine"), frozen_memory(machine, "other")) == (2, 1)
    machine.run("update", "mine")
    assert out() == "mine is up to date\n"


def test_update_dry_run_writes_nothing(machine):
    machine.model_file("mine")
    machine.run("apply")
    machine.model_file("mine", memory="2GiB")
    before = machine.files()

    assert machine.run("update", "--dry-run", "mine") == 0

    assert machine.files() == before


@pytest.mark.parametrize("how", ["disabled", "removed"])
def test_model_that_is_no_more_leaves_nothing(machine, out, how):
    file = machine.model_file("mine", timeouts="{drain: 5s}")
    machine.run("apply")
    if how == "disabled":
        machine.model_file("mine", status="{disabled: it lies}")
    else:
        file.unlink()

    assert machine.run("apply") == 0

    assert f"mine: remove {machine.layout.frozen('mine')}\n" in out()
    assert not machine.layout.frozen("mine").exists()
    assert list(machine.units.iterdir()) == []


def test_drop_ins_of_the_owner_stay(machine):
    file = machine.model_file("mine")
    machine.run("apply")
    own = machine.units / "spark-model@mine.socket.d/override.conf"
    own.write_text("[Socket]\nBacklog=7\n")
    file.unlink()

    machine.run("apply")

    assert [path.name for path in own.parent.iterdir()] == ["override.conf"]


def test_model_that_is_no_more_but_switched_on_stays_and_is_said(machine, out):
    file = machine.model_file("mine")
    machine.run("apply")
    machine.enable("mine")
    file.unlink()
    before = set(machine.files())
    out()

    machine.run("apply")

    assert "systemctl disable --now spark-model@mine.socket" in out()
    assert set(machine.files()) == before


def test_broken_file_disables_no_other_model_and_not_what_runs(machine, capsys):
    machine.model_file("mine")
    machine.run("apply")
    machine.model_file("mine", memory="much")
    machine.model_file("other", port=18301)
    capsys.readouterr()

    assert machine.run("apply") == 1

    said = capsys.readouterr()
    assert "mine.yaml: memory: " in said.err
    assert "Traceback" not in said.err
    assert frozen_memory(machine, "mine") == 1
    assert machine.layout.frozen("other").exists()


def test_broken_host_settings_leave_the_frozen_ones(machine, capsys):
    machine.layout.host_file.write_text("gpu: cdi\n")
    machine.run("apply")
    before = machine.layout.frozen_host.read_text()
    machine.layout.host_file.write_text("gpu: maybe\n")

    assert machine.run("apply") == 1

    assert "host.yaml: gpu: " in capsys.readouterr().err
    assert machine.layout.frozen_host.read_text() == before


def test_update_of_a_model_whose_file_is_broken_changes_nothing(machine, capsys):
    machine.model_file("mine")
    machine.run("apply")
    machine.model_file("mine", memory="much")
    before = machine.files()

    assert machine.run("update", "mine") == 1

    assert "there is no usable model file for 'mine'" in capsys.readouterr().err
    assert machine.files() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_apply_without_rights_says_so_before_it_writes(open_machine, capfd):
    open_machine.run("apply")  # also imports what another user may not be able to read
    open_machine.model_file("mine")
    before = open_machine.files()
    capfd.readouterr()

    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        os._exit(open_machine.run("apply"))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 1
    assert "needs root (hint: run: sudo spark-model apply" in capfd.readouterr().err
    assert open_machine.files() == before


def test_apply_waits_until_nginx_knows_what_it_wrote(machine, monkeypatch):
    asked = []

    class Running(Units):
        def active(self, unit: str) -> bool:
            return unit == "spark-models.path"

        def call(self, *arguments: str) -> None:
            asked.append(arguments)
            # The first was at it already, and had read the models of before.
            if len(asked) == 2:
                assert routes.run(machine.layout) == 0

    machine.model_file("mine")
    units = Running(machine.units, user=True)

    assert apply.run(machine.layout, units, dry_run=False) == 0

    assert asked == [("start", "spark-models.service")] * 2
    assert '"mine"' in machine.layout.routes_file.read_text()

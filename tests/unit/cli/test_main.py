"""The command as a whole: exit status, no tracebacks, and what it becomes."""

import errno
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from spark_activator.cli import files, models
from spark_activator.cli.logs import journalctl
from spark_activator.cli.main import main


@pytest.mark.parametrize("module", ["spark_activator", "spark_activator.cli"])
def test_it_runs_as_a_module_in_isolation(machine, module):
    root = Path(__file__).parents[3]
    # What -I would do for an installed package, from a checkout.
    code = f"import sys; sys.path[0] = {str(root)!r}; sys.argv[1:] = ['--version']; "
    code += f"import runpy; runpy.run_module({module!r}, run_name='__main__')"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (result.returncode, result.stderr) == (0, "")


def test_reader_that_has_seen_enough_is_no_error(machine):
    for number in range(300):
        machine.freeze(f"model-{number}", summary="x" * 400)

    reader, writer = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "spark_activator", "--user", "list"],
        cwd=Path(__file__).parents[3],
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    os.close(reader)
    _, err = child.communicate(timeout=60)

    assert (child.returncode, err) == (141, b"")


def test_ctrl_c_while_arguments_are_read_is_no_traceback(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("spark_activator.cli.main._parser", interrupted)

    assert main(["list"]) == 130


# Begins the command in a process that is interrupted while its modules are imported.
INTERRUPTED = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "spark_activator.cli.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
sys.argv[1:] = ["list"]
"""


@pytest.mark.parametrize("start", ["script", "spark_activator", "spark_activator.cli"])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(start):
    root = Path(__file__).parents[3]
    module, _, name = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"][
        "spark-model"
    ].partition(":")
    begin = {
        # What pip writes as a program.
        "script": f"import sys; from {module} import {name}; sys.exit({name}())",
    }.get(start, f"import runpy; runpy.run_module({start!r}, run_name='__main__')")

    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED + begin], cwd=root, capture_output=True, text=True
    )

    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_looking_reads_no_yaml():
    # 20 ms of each `status`, and of the list that nginx waits for.
    code = "import sys, spark_activator.cli.main; print('yaml' in sys.modules)"

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True
    )

    assert result.stdout == "False\n"


def test_check_says_every_problem_and_counts(machine, out):
    machine.model_file("a", memory="much", port=1)
    machine.model_file("b", port=18301)

    assert machine.run("check") == 1
    text = out()
    assert "a.yaml: memory: " in text
    assert "a.yaml: port: " in text
    assert text.endswith("2 models and the host settings: 2 problems\n")

    assert machine.run("check", str(machine.layout.owner_models / "b.yaml")) == 0
    assert out() == "1 file: good\n"


def test_check_of_a_file_that_is_not_there_is_a_problem(machine, out):
    assert machine.run("check", "/nowhere/x.yaml") == 1

    assert out().startswith("/nowhere/x.yaml: ")


def test_routes_follow_the_markers(machine):
    machine.freeze("a", aliases=("a1",))
    machine.freeze("b", port=18101)
    (machine.layout.markers / "a").touch()
    (machine.layout.markers / ".stale").touch()

    assert machine.run("routes") == 0

    listed = json.loads(machine.layout.routes_file.read_text())["models"]
    assert {name: entry["enabled"] for name, entry in listed.items()} == {"a": True, "b": False}
    # Whatever changes from now on has the list written again.
    assert not (machine.layout.markers / ".stale").exists()
    assert machine.layout.routes_file.stat().st_mode & 0o777 == 0o644


def test_routes_name_retired_models(machine):
    machine.layout.vendor_models.mkdir(exist_ok=True)
    (machine.layout.vendor_models / "retired.yaml").write_text("old: {reason: gone}\n")

    assert machine.run("routes") == 0

    listed = json.loads(machine.layout.routes_file.read_text())
    assert listed["retired"] == {"old": {"reason": "gone", "instead": None}}


def test_routes_are_only_replaced_when_they_differ(machine):
    # nginx looks at the file's time and size to know whether to read it again.
    machine.freeze("a")
    machine.run("routes")
    before = machine.layout.routes_file.stat()

    machine.run("routes")

    assert machine.layout.routes_file.stat().st_ino == before.st_ino


def test_broken_frozen_model_is_left_out_of_the_routes(machine, capsys):
    machine.freeze("a")
    machine.layout.frozen("b").write_text("{")

    assert machine.run("routes") == 0

    assert "b: left out: " in capsys.readouterr().err
    assert list(json.loads(machine.layout.routes_file.read_text())["models"]) == ["a"]


@pytest.mark.parametrize("broken", ["bytes", "loop", "directory"])
def test_frozen_file_that_cannot_be_read_costs_only_itself(machine, capsys, broken):
    machine.freeze("a")
    (machine.layout.markers / "a").touch()
    path = machine.layout.frozen("b")
    if broken == "bytes":
        path.write_bytes(b"\xff\xfe\x00")
    elif broken == "loop":
        path.symlink_to(path)
    else:
        path.mkdir()

    for command in (("routes",), ("list",), ("status",), ("client", "aider"), ("disk",)):
        assert machine.run(*command) == 0, command
    machine.run("doctor")  # it has its opinion of the machine
    assert list(json.loads(machine.layout.routes_file.read_text())["models"]) == ["a"]
    assert "Traceback" not in capsys.readouterr().err


def test_apply_mends_a_frozen_file_that_is_no_text(machine):
    machine.model_file("a")
    assert machine.run("apply") == 0
    path = machine.layout.frozen("a")
    before = path.read_text()
    path.write_bytes(b"\xff\xfe\x00")

    assert machine.run("apply") == 0

    assert path.read_text() == before


@pytest.mark.parametrize(
    "number", [errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.EIO]
)
def test_what_is_wrong_with_the_disk_is_a_sentence(machine, monkeypatch, capsys, number):
    def names(layout):
        raise OSError(number, os.strerror(number), "/a/path")

    monkeypatch.setattr(models, "names", names)

    assert machine.run("list") == 1

    assert capsys.readouterr().err == f"spark-model: /a/path: {os.strerror(number).lower()}\n"


@pytest.mark.parametrize("command", [("routes",), ("list",), ("status",), ("client", "aider")])
def test_model_that_is_taken_away_meanwhile_is_in_no_list(machine, monkeypatch, out, command):
    machine.freeze("a")
    machine.enable("a")
    for name in ("a", "taken-away"):
        (machine.layout.markers / name).touch()
    # `apply` removed it after the folder had been read, and before its file was.
    monkeypatch.setattr(models, "names", lambda layout: ["a", "taken-away"])

    assert machine.run(*command) == 0

    assert "taken-away" not in out()


def test_full_disk_is_a_sentence(machine, monkeypatch, capsys):
    # A write that fails has no file's name in its error.
    def write(*arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write", write)

    assert machine.run("routes") == 1

    assert capsys.readouterr().err == (
        "spark-model: no space left on device (hint: make room, see: df -h and spark-model disk)\n"
    )


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("apply",), "run: sudo spark-model apply, or add --dry-run to see what it would do"),
        (("update", "a"), "run: sudo spark-model update a, or add --dry-run"),
        (("remove", "a"), "run: sudo spark-model remove a)"),
        (("enable", "a"), "run: sudo spark-model enable a)"),
    ],
)
def test_command_that_may_not_write_names_what_may(machine, monkeypatch, capsys, command, hint):
    machine.model_file("a")
    machine.run("apply")
    machine.model_file("a", summary="changed")
    # Root may write everywhere, and tests run as root too.
    monkeypatch.setattr(files, "may_write", lambda directory: False)

    assert machine.run(*command) == 1

    assert hint in capsys.readouterr().err


def test_logs_are_of_every_unit_and_of_the_container():
    command = journalctl("a", follow=True, lines=5, user=False)

    assert command[:4] == ["journalctl", "--output=short-precise", "--follow", "--lines=5"]
    matches = " ".join(command[4:]).split(" + ")
    assert "CONTAINER_NAME=spark-a" in matches
    for unit in ("model", "runner", "engine", "reaper"):
        assert f"_SYSTEMD_UNIT=spark-{unit}@a.service" in matches
        assert f"UNIT=spark-{unit}@a.service" in matches
    assert "_SYSTEMD_USER_UNIT" not in " ".join(command)


def test_logs_of_a_user_manager_are_in_other_fields():
    assert "_SYSTEMD_USER_UNIT=spark-model@a.service" in journalctl(
        "a", follow=False, lines=None, user=True
    )


def test_journalctl_accepts_the_command():
    result = subprocess.run(
        [*journalctl("a", follow=False, lines=5, user=False), "--no-pager", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode in (0, 1), result.stderr
    assert "Failed to" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--user"], ["frobnicate"], ["stop"]])
def test_wrong_arguments_exit_with_2(machine, arguments):
    with pytest.raises(SystemExit) as end:
        machine.run(*arguments)

    assert end.value.code == 2

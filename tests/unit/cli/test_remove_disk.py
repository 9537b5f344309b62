"""`remove` and `disk`: what is taken away, what stays, and what takes how much."""

from pathlib import Path

import pytest

from spark_activator.doctor import containers

OTHER = {"port": 18301}


@pytest.fixture
def calls(machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a systemctl that notes what it is told."""
    directory = machine.units.parent / "bin"
    directory.mkdir()
    noted = directory / "calls"
    noted.write_text("")
    script = directory / "systemctl"
    # `is-active` says yes, as where units run.
    script.write_text(f'#!/bin/sh\necho "$*" >>{noted}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return noted


def weights(machine, repository: str = "a/b", size: int = 1 << 20) -> Path:
    root = machine.layout.hub_cache / f"models--{repository.replace('/', '--')}"
    (root / "blobs").mkdir(parents=True)
    (root / "blobs/x").write_bytes(b"x" * size)
    return root


def model_of_vllm(machine, name: str, **more: object) -> Path:
    machine.layout.owner_images.write_text("vllm: {reference: example.org/vllm, pinned: false}\n")
    path = machine.model_file(name, **more)
    text = path.read_text().replace("engine: process\n", "image: vllm\n")
    path.write_text("".join(line + "\n" for line in text.splitlines() if "command" not in line))
    return path


def test_model_is_switched_off_and_its_file_stays(machine, calls, out):
    path = model_of_vllm(machine, "m")
    root = weights(machine)
    machine.freeze("m")
    machine.enable("m")
    (machine.units / "spark-model@m.socket.d").mkdir()

    assert machine.run("remove", "m") == 0

    said = calls.read_text()
    assert "--user disable spark-model@m.socket" in said
    [stop] = [line for line in said.splitlines() if " stop " in line]
    assert stop.endswith("spark-model@m.socket")
    text = out()
    assert "m is switched off" in text
    assert f"its file stays: {path}" in text
    assert f"its weights stay: {root}" in text
    assert path.exists()
    assert machine.layout.frozen("m").exists()


def test_own_file_goes_when_asked_and_nothing_is_left(machine, calls, out):
    path = model_of_vllm(machine, "m")
    assert machine.run("apply") == 0
    assert machine.layout.frozen("m").exists()

    assert machine.run("remove", "m", "--file") == 0

    assert not path.exists()
    assert not machine.layout.frozen("m").exists()
    assert list(machine.units.glob("spark-model@m*")) == []


def test_weights_go_and_what_they_took_is_said(machine, calls, out):
    model_of_vllm(machine, "m")
    root = weights(machine)

    assert machine.run("remove", "m", "--weights", "--yes") == 0

    assert not root.exists()
    assert list(machine.layout.hub_cache.iterdir()) == []
    assert f"removed {root}: 1.0 MiB are free again" in out()


def test_weights_that_another_model_uses_stay(machine, calls, out):
    model_of_vllm(machine, "m")
    model_of_vllm(machine, "n", **OTHER)
    root = weights(machine)

    assert machine.run("remove", "m", "--weights") == 0

    assert root.exists()
    assert f"{root} stays: n uses it" in out()


def test_nobody_to_ask_means_that_nothing_is_done(machine, calls, capsys):
    model_of_vllm(machine, "m")
    machine.enable("m")
    root = weights(machine)

    assert machine.run("remove", "m", "--weights") == 1

    assert "add --yes" in capsys.readouterr().err
    assert root.exists()
    assert calls.read_text() == ""


@pytest.mark.parametrize(("answer", "gone"), [("y", True), ("", False), ("n", False)])
def test_person_at_a_terminal_is_asked(machine, calls, monkeypatch, answer, gone):
    model_of_vllm(machine, "m")
    root = weights(machine)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)

    assert machine.run("remove", "m", "--weights") == (0 if gone else 1)

    assert root.exists() is not gone


def test_unknown_model_is_said(machine, calls, capsys):
    machine.freeze("mistral")

    assert machine.run("remove", "mistra") == 1

    assert "did you mean mistral?" in capsys.readouterr().err


def test_alias_is_not_taken_for_the_name(machine, calls, capsys):
    model_of_vllm(machine, "m", aliases="[em]")
    root = weights(machine)

    assert machine.run("remove", "em", "--weights", "--yes") == 1

    assert "'em' is a name of 'm' (hint: run: sudo spark-model remove m)" in capsys.readouterr().err
    assert root.exists()


def test_weights_that_a_broken_file_may_name_stay(machine, calls, out, capsys):
    model_of_vllm(machine, "m")
    path = model_of_vllm(machine, "n", **OTHER)
    path.write_text(path.read_text() + "memorry: 1GiB\n")
    root = weights(machine)

    assert machine.run("remove", "m", "--weights", "--yes") == 1

    assert "may be those of n too" in capsys.readouterr().err
    assert root.exists()
    assert calls.read_text() == ""
    assert machine.run("disk") == 0
    assert "what n would use is not known" in out()


@pytest.mark.parametrize("file", ["broken", "gone"])
def test_weights_that_a_broken_frozen_model_may_name_stay(machine, calls, out, capsys, file):
    model_of_vllm(machine, "m")
    path = model_of_vllm(machine, "n", **OTHER)
    assert machine.run("apply") == 0
    machine.layout.frozen("n").write_text("{")
    if file == "gone":
        path.unlink()
    else:
        path.write_text("nonsense: 1\n")
    root = weights(machine)

    assert machine.run("remove", "m", "--weights", "--yes") == 1

    assert "may be those of n too" in capsys.readouterr().err
    assert root.exists()
    assert machine.run("disk") == 0
    assert "what n would use is not known" in out()


def test_what_an_interrupted_deletion_left_is_shown(machine, out):
    model_of_vllm(machine, "m")
    root = weights(machine)
    left = root.with_name(f".removed-{root.name}.123")
    root.rename(left)

    assert machine.run("disk") == 0

    text = out()
    assert "a/b (half deleted)" in text
    assert f"rm -r {left}" in text


def test_cache_that_is_named_twice_counts_once(machine, out):
    model_of_vllm(machine, "m")
    weights(machine)
    again = machine.units.parent / "again"
    again.symlink_to(machine.layout.hub_cache)
    machine.layout.host_file.write_text(f"hub_caches: [{again}]\n")

    assert machine.run("disk") == 0

    assert out().count("1.0 MiB") == 1


def test_record_of_the_pull_stays_with_the_weights(machine, calls):
    model_of_vllm(machine, "m")
    weights(machine)
    record = machine.layout.pulled("m")
    record.parent.mkdir(parents=True)
    record.write_text("{}")

    assert machine.run("remove", "m") == 0
    assert record.exists()

    assert machine.run("remove", "m", "--weights", "--yes") == 0
    assert not record.exists()


def test_disk_names_users_orphans_and_free_space(machine, out):
    machine.layout.host_file.write_text("docker_host: /nowhere/docker.sock\n")
    model_of_vllm(machine, "m")
    weights(machine)
    orphan = weights(machine, "old/model", 2 << 20)
    part = weights(machine, "c/d")
    (part / "blobs/y.incomplete").write_bytes(b"x")
    model_of_vllm(machine, "n", source="{model: c/d}", **OTHER)
    cache = machine.layout.state / "cache" / ("0" * 64)
    cache.mkdir(parents=True)
    (cache / "kernel").write_bytes(b"x" * (3 << 20))

    assert machine.run("disk") == 0

    text = out()
    rows = [line.split() for line in text.splitlines()]
    place = str(machine.layout.hub_cache)
    assert ["a/b", "1.0", "MiB", "m", place] in rows
    assert ["old/model", "2.0", "MiB", "-", place] in rows
    assert f"no model uses 2.0 MiB of weights; to delete them:\n    rm -r {orphan}\n" in text
    assert "c/d is not whole (run: spark-model pull n)" in text
    assert ["0" * 19, "3.0", "MiB", "-"] in rows
    assert "images are not known" in text
    assert "FREE" in text


def test_disk_says_who_may_ask_docker(machine, capsys, monkeypatch):
    sock = machine.units.parent / "docker.sock"
    machine.layout.host_file.write_text(f"docker_host: {sock}\n")
    model_of_vllm(machine, "m")
    sock.touch()
    monkeypatch.setattr(containers, "may_ask", lambda address: False)

    assert machine.run("disk") == 0

    said = capsys.readouterr()
    assert "images are not known: only root may ask Docker (run: sudo spark-model disk)" in said.out
    assert said.err == ""


def test_disk_of_an_empty_machine(machine, out):
    machine.layout.host_file.write_text("docker_host: /nowhere/docker.sock\n")

    assert machine.run("disk") == 0

    assert out().startswith("no weights in any hub cache\n")

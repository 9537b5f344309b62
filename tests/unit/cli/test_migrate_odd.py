"""`spark-model migrate` on checkouts as they are after a year: moved, linked, with secrets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import seed_tree
import yaml

from spark_activator.catalog import document
from spark_activator.catalog.load import load_catalog, load_host

NAME = "gpt-oss-20b"
COMPOSE = "compose/models-gpt.yml"
SECRET = "hf_" + "ExampleExampleExample"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def tree(machine: Any, tmp_path: Path, home: Path) -> Path:
    machine.layout.images_file.write_text("vllm-fp4: {reference: 'x/vllm:1', pinned: false}\n")
    machine.layout.vendor_models.mkdir(exist_ok=True)
    (machine.layout.vendor_models / f"{NAME}.yaml").write_text(
        "port: 18110\nimage: vllm-fp4\nmemory: 30GiB\nsource: {model: a/b}\n"
    )
    return seed_tree.build(tmp_path / "my stack's")


def service(tree: Path, **changes: Any) -> None:
    container = json.loads((tree / "models.json").read_text())[NAME]["container"]
    seed_tree.edit(tree / COMPOSE, container, **changes)


def words() -> list[str]:
    return list(seed_tree.FACTS["services"][NAME][-1]["argv"])


def environment() -> dict[str, str]:
    return dict(seed_tree.FACTS["services"][NAME][-1]["env"])


def written(machine: Any) -> str:
    return (machine.layout.owner_models / f"{NAME}.yaml").read_text()


def keys(machine: Any) -> dict[str, Any]:
    return dict(document.parse(written(machine), "x"))


def test_secrets_do_not_come_into_model_files(
    machine: Any, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service(
        tree,
        command=[*words(), "--hf-token", SECRET, "--hf-overrides", f'{{"a": "{SECRET}"}}'],
        environment={
            **environment(), "WANDB_API_KEY": "anything", "hf_token": SECRET, "A": "1",
            "HTTPS_PROXY": "http://me:pass-word@proxy",
        },
    )  # fmt: skip

    machine.run("migrate", str(tree))

    told = capsys.readouterr()
    for secret in (SECRET, "anything", "pass-word"):
        assert secret not in written(machine)
        assert secret not in told.out + told.err
    assert keys(machine)["env"] == {"A": "1"}
    assert "WANDB_API_KEY, which is a secret" in written(machine)


def test_what_is_left_out_is_said_without_secrets_and_on_one_line(
    machine: Any, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # With nothing else that differs there is no file, and the note is on the terminal alone.
    service(tree, command=[*words(), "--kv-transfer-config", "Bearer s3cret-word\n\x1b[2J"])

    machine.run("migrate", str(tree))

    told = capsys.readouterr().out
    [line] = [line for line in told.splitlines() if "--kv-transfer-config" in line]
    assert line.isprintable()
    assert "s3cret-word" not in told
    assert not (machine.layout.owner_models / f"{NAME}.yaml").exists()


def test_places_of_the_host_are_not_mounted(machine: Any, tree: Path) -> None:
    service(
        tree,
        volumes=["/:/host", "/var/run/docker.sock:/var/run/docker.sock", "/srv/t:/t", "/etc:/e:ro"],
    )

    machine.run("migrate", str(tree))

    assert keys(machine)["container"] == {"mounts": {"/t": "/srv/t"}}
    assert "mount of /var/run/docker.sock" in " ".join(written(machine).split())


def test_paths_of_whoever_runs_it(machine: Any, tree: Path, home: Path) -> None:
    service(tree, volumes=["~/t:/a", "${HOME}/u:/b", "$HOME/v:/c", "${PWD}/w:/d"])

    machine.run("migrate", str(tree))

    assert keys(machine)["container"]["mounts"] == {
        "/a": f"{home}/t", "/b": f"{home}/u", "/c": f"{home}/v", "/d": f"{tree}/w",
    }  # fmt: skip


@pytest.mark.parametrize(
    "volume",
    [
        "{elsewhere}:/root/.cache/huggingface",
        "${{CACHE}}:/root/.cache/huggingface",
        "${{NOWHERE:-{elsewhere}}}/hub:/root/.cache/huggingface/hub",
        "../../elsewhere:/root/.cache/huggingface",
        "{elsewhere}/hub:/models",
    ],
)
def test_caches_elsewhere_are_used_where_they_lie(
    volume: str, machine: Any, tree: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "hub/models--a--b").mkdir(parents=True)
    with (tree / ".env").open("a") as file:
        file.write(f"export CACHE='{elsewhere}' # moved\n")
    service(tree, volumes=[volume.format(elsewhere=elsewhere)])

    machine.run("migrate", str(tree))

    assert str(elsewhere / "hub") in load_host(machine.layout).hub_caches


def test_caches_that_are_links_are_named_by_their_place(
    machine: Any, tree: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tree / "models")
    (tmp_path / "disk/models--a--b").mkdir(parents=True)
    (tree / "models").symlink_to(tmp_path / "disk")

    machine.run("migrate", str(tree))

    assert str(tmp_path / "disk") in load_host(machine.layout).hub_caches


def test_a_directory_is_named_as_one_likes(
    machine: Any, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tree / "compose")

    assert machine.run("migrate", "../") == 0

    assert str(tree / "models") in load_host(machine.layout).hub_caches
    said = capsys.readouterr().out
    quoted = str(tree).replace("'", "'\"'\"'")
    assert f"--project-directory '{quoted}' --profile models down" in said


@pytest.mark.parametrize(
    "body",
    [
        {"include": COMPOSE},
        {"include": 5},
        {"include": [5, None, {"path": [1]}]},
        {"include": [COMPOSE], "services": {"a": {"profiles": "models"}}},
        {"include": [COMPOSE], "services": {"a": {"profiles": 5}, "b": 5, 5: {"image": []}}},
        {"services": {"a": {"environment": 5, "volumes": 5, "command": {"a": 1}, "image": 5}}},
        {"services": {"a": {"command": "serve 'x"}}},
        {"services": {"a\nb: c": {"command": "serve a/b", "image": "x"}}},
        {"services": []},
    ],
)
def test_an_odd_compose_file_is_no_traceback(body: Any, machine: Any, tree: Path) -> None:
    (tree / "docker-compose.yml").write_text(yaml.safe_dump(body))

    machine.run("migrate", "--dry-run", str(tree))


def test_letters_of_every_kind_stay_what_they_are(machine: Any, tree: Path) -> None:
    odd = {"A": "\x85\u2028\U0002ebe1", "B": "ü", "C": "\x1b[31m", "D": '"\\'}
    service(tree, environment={**environment(), **odd})

    machine.run("migrate", str(tree))

    assert keys(machine)["env"] == odd


@pytest.mark.parametrize(
    "changes",
    [
        {"container": ["x"]},
        {"maxModelLen": 10**30},
        {"maxModelLen": "4096 or so"},
        {"toolSupport": {"a": 1}, "validatorProfile": []},
        {"multimodal": None, "lifecycle": 5, "normalizeTextContent": "x"},
    ],
)
def test_odd_entries_are_no_traceback(changes: Any, machine: Any, tree: Path) -> None:
    file = tree / "models.json"
    entries = json.loads(file.read_text())
    entries[NAME] |= changes
    entries |= {"x": 5, "": {"container": "y"}, "a/b": {"container": "z"}}
    file.write_text(json.dumps(entries))

    assert machine.run("migrate", str(tree)) == 0
    assert load_catalog(machine.layout).problems == []


def test_anchors_within_themselves_are_a_sentence(
    machine: Any, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "docker-compose.yml").write_text("services: &a {a: {environment: *a}}\n")

    assert machine.run("migrate", str(tree)) == 1
    assert "expected a compose file" in capsys.readouterr().err


def test_another_key_of_that_name_stays_and_all_else_is_taken_over(
    machine: Any, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.run("migrate", str(tree))
    (tree / ".env").write_text("VLLM_API_KEY=another-key-of-sixteen\n")
    service(tree, command=[*words(), "--seed", "7"])
    before = machine.layout.api_keys.read_text()
    capsys.readouterr()

    assert machine.run("migrate", str(tree)) == 0

    assert machine.layout.api_keys.read_text() == before
    assert "! its VLLM_API_KEY is not taken over: " in capsys.readouterr().out
    assert keys(machine)["extra_args"] == ["--seed", "7"]


@pytest.mark.parametrize("what", ["model", "host.yaml", "images.yaml"])
@pytest.mark.parametrize("how", ["no text", "directory"])
def test_a_file_of_the_owner_that_cannot_be_read_is_a_sentence(
    what: str, how: str, machine: Any, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service(tree, image="me/vllm:2", command=[*words(), "--seed", "7"])
    path = {
        "model": machine.layout.owner_models / f"{NAME}.yaml",
        "host.yaml": machine.layout.host_file,
        "images.yaml": machine.layout.owner_images,
    }[what]
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"\xff\xfe\x00")

    assert machine.run("migrate", str(tree)) == 1

    said = capsys.readouterr().err
    assert str(path) in said
    assert "Traceback" not in said

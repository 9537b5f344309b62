"""`spark-model image build` on a real Docker: from nothing, and our layers on a stand-in."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_activator.cli.main import main

ROOT = Path(__file__).parents[2]

pytestmark = [
    # Building the base takes a minute the first time.
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True).returncode != 0,
        reason="no Docker answers",
    ),
]

# What the layers look for in vLLM's image, in a base that has nothing else.
STAND_IN = {
    "vllm/__init__.py": "",
    "vllm/model_executor/__init__.py": "",
    "vllm/model_executor/layers/__init__.py": "",
    "vllm/model_executor/layers/quantization/__init__.py": (
        'QUANTIZATION_METHODS = ["mxfp4", "modelopt_fp4", "compressed-tensors"]\n'
    ),
    "vllm-0.28.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.28.0+cu130\n",
    "flashinfer/__init__.py": "",
    "fastsafetensors/__init__.py": "",
    "openai_harmony/__init__.py": "",
}


def docker(*words: str, data: bytes | None = None) -> str:
    # The classic builder: BuildKit is a plugin that Debian does not ship.
    env = os.environ | {"DOCKER_BUILDKIT": "0"}
    done = subprocess.run(["docker", *words], input=data, env=env, capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.fixture
def mark() -> Iterator[str]:
    """A word in the names of images, which are gone afterwards."""
    mark = f"spark-test-{uuid.uuid4().hex[:8]}"
    yield mark
    left = docker("images", "--quiet", "--filter", f"reference={mark}*").split()
    if left:
        docker("rmi", "--force", *set(left))


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("config", "state", "run", "share"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"SPARK_{name.upper()}", str(tmp_path / name))
    return tmp_path / "share"


def entry(name: str, folder: str) -> str:
    return f"{name}: {{reference: '{name}:latest', pinned: false, build: {folder}}}\n"


def test_from_nothing_and_again_where_a_file_changed(
    share: Path, mark: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (share / "images.yaml").write_text(entry(mark, "small"))
    folder = share / "images/small"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(
        "FROM scratch\nARG BASE=none\nLABEL base=${BASE}\nCOPY note /note\n"
    )
    (folder / "note").write_text("hello\n")

    assert main(["image", "verify", mark]) == 1
    assert main(["image", "build", mark]) == 0
    assert "COPY note /note" in capfd.readouterr().out
    assert main(["image", "verify", mark]) == 0
    record = json.loads((share.parent / f"state/pulled/images/{mark}.json").read_text())
    assert record["id"] == docker("image", "inspect", "--format", "{{.Id}}", mark)

    (folder / "note").write_text("goodbye\n")
    assert main(["image", "verify", mark]) == 1
    assert main(["image", "build", mark, "--base", "other"]) == 0
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", mark))
    assert labels["base"] == "other"
    capfd.readouterr()
    assert main(["image", "verify", mark]) == 0
    assert "good, built from what is here with BASE=other" in capfd.readouterr().out


def test_a_step_that_fails_leaves_nothing_under_the_name(
    share: Path, mark: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (share / "images.yaml").write_text(entry(mark, "small"))
    folder = share / "images/small"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY nowhere /note\n")

    assert main(["image", "build", mark]) == 1
    assert "nowhere" in capfd.readouterr().err
    assert main(["image", "verify", mark]) == 1


def test_a_registry_that_is_not_there(share: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Nobody listens on the port of discarded things.
    (share / "images.yaml").write_text("away: {reference: '127.0.0.1:9/away:1', pinned: false}\n")

    assert main(["image", "pull", "away"]) == 1
    assert "connection refused (hint: is the network there" in capfd.readouterr().err


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """A base with a python3 that has what the layers look for."""
    subprocess.run([ROOT / "tests/setup_engine.sh", "demo"], check=True, timeout=280)
    name = f"spark-test-base-{uuid.uuid4().hex[:8]}"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        files = {f"files/{path}": text for path, text in STAND_IN.items()}
        files["Dockerfile"] = "FROM spark-demo\nCOPY files /usr/lib/python3/dist-packages\n"
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    docker("build", "--tag", name, "-", data=buffer.getvalue())
    yield name
    docker("rmi", "--force", name)


@pytest.mark.parametrize("folder", ["vllm-fp4", "vllm-mxfp4"])
def test_a_layer_builds_where_its_base_has_what_it_promises(
    share: Path, mark: str, base: str, folder: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (share / "images.yaml").write_text(entry(mark, folder))
    (share / "images").symlink_to(ROOT / "images")

    assert main(["image", "build", mark, "--base", base]) == 0
    env = json.loads(docker("image", "inspect", "--format", "{{json .Config.Env}}", mark))
    assert "MAX_JOBS=2" in env
    assert ("TIKTOKEN_ENCODINGS_BASE=/etc/encodings" in env) is (folder == "vllm-mxfp4")
    # The base's own command stays.
    inspect = ("image", "inspect", "--format", "{{json .Config.Entrypoint}}")
    assert docker(*inspect, mark) == docker(*inspect, base)

    capfd.readouterr()
    words = ("--base", base, "--build-arg", "VLLM=0.29.0")
    assert main(["image", "build", mark, *words]) == 1
    assert "AssertionError: 0.28.0" in capfd.readouterr().out

"""Where the weights of a model are looked for."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.errors import EngineFailed
from spark_activator.runner.machine import find_hub

MODEL = Model("m", 18300, Engine.VLLM, Source("openai/gpt-oss-20b"), 1 << 30)
NOBODY = 65534
COMMIT = "c0ffee" + "0" * 34
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def fill(place: Path, repository: str = "openai/gpt-oss-20b") -> Path:
    """Make a whole repository of two shards; say where its files are."""
    root = place / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs/main").write_text(COMMIT)
    for name in ("config.json", *SHARDS):
        (snapshot / name).write_text("{}")
    index = {"weight_map": dict(zip("ab", SHARDS, strict=True))}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    return snapshot


@pytest.mark.parametrize("engine", [Engine.VLLM, Engine.SGLANG])
def test_the_cache_that_has_the_weights_is_taken(tmp_path: Path, engine: Engine) -> None:
    model = replace(MODEL, engine=engine)
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "full")

    assert find_hub(model, (f"{tmp_path}/empty", f"{tmp_path}/full")) == f"{tmp_path}/full"
    with pytest.raises(EngineFailed, match="sudo spark-model pull m") as failed:
        find_hub(model, (f"{tmp_path}/empty", f"{tmp_path}/missing"))
    assert failed.value.code == "weights_missing"


def test_half_a_download_is_none(tmp_path: Path) -> None:
    snapshot = fill(tmp_path)
    assert find_hub(MODEL, (f"{tmp_path}",)) == f"{tmp_path}"
    # As the hub's library leaves it: a link to a file that is not there yet.
    (snapshot / SHARDS[1]).unlink()
    (snapshot / SHARDS[1]).symlink_to("../../blobs/not-yet")

    with pytest.raises(EngineFailed) as failed:
        find_hub(MODEL, (f"{tmp_path}",))

    assert failed.value.code == "weights_missing"


def test_drafts_have_to_be_in_the_same_cache(tmp_path: Path) -> None:
    model = replace(MODEL, source=Source("openai/gpt-oss-20b", drafts=("a/draft",)))
    fill(tmp_path / "one")
    fill(tmp_path / "two", "a/draft")
    with pytest.raises(EngineFailed, match="a/draft"):
        find_hub(model, (f"{tmp_path}/one", f"{tmp_path}/two"))

    fill(tmp_path / "one", "a/draft")

    assert find_hub(model, (f"{tmp_path}/one", f"{tmp_path}/two")) == f"{tmp_path}/one"


def test_revision_that_is_a_commit_needs_no_ref(tmp_path: Path) -> None:
    fill(tmp_path)
    ours = replace(MODEL, source=Source("openai/gpt-oss-20b", revision=COMMIT))
    other = replace(MODEL, source=Source("openai/gpt-oss-20b", revision="f" * 40))

    assert find_hub(ours, (f"{tmp_path}",)) == f"{tmp_path}"
    with pytest.raises(EngineFailed):
        find_hub(other, (f"{tmp_path}",))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not look")
def test_a_cache_that_we_may_not_look_into_is_taken_at_its_word(tmp_path: Path) -> None:
    # The runner sees nothing below /home, where Hugging Face's cache usually is.
    tmp_path.chmod(0o755)
    home = tmp_path / "home"
    (home / "hub").mkdir(parents=True)
    home.chmod(0o700)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            found = find_hub(MODEL, (f"{tmp_path}/missing", f"{home}/hub"))
            status = 0 if found == f"{home}/hub" else 2
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

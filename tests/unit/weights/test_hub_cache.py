"""Whether a snapshot is whole."""

import json
from pathlib import Path

import pytest

from spark_activator import hub

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = {"model.safetensors.index.json": json.dumps({"weight_map": dict(zip("ab", SHARDS))})}  # noqa: B905  # both have two


@pytest.mark.parametrize(
    ("files", "whole"),
    [
        ({"config.json": "", "model.safetensors": ""}, True),
        ({"params.json": "", "consolidated.safetensors": ""}, True),
        ({"config.json": "", "pytorch_model.bin": ""}, True),
        ({"config.json": "", **INDEX, SHARDS[0]: "", SHARDS[1]: ""}, True),
        ({"config.json": "", **INDEX, SHARDS[0]: ""}, False),
        ({"config.json": "", **INDEX}, False),
        ({"config.json": "", **INDEX, "consolidated.safetensors": ""}, True),
        # The index is what has not come yet.
        ({"config.json": "", SHARDS[0]: "", SHARDS[1]: ""}, True),
        ({"config.json": "", SHARDS[1]: ""}, False),
        ({"config.json": ""}, False),
        ({"model.safetensors": ""}, False),
        ({"config.json": "", "model.safetensors.index.json": "{", SHARDS[0]: ""}, False),
        ({"config.json": "", "model.safetensors.index.json": "[]", SHARDS[0]: ""}, False),
        ({"config.json": "", "model.safetensors.index.json": '{"weight_map": {}}'}, False),
        ({}, False),
    ],
)
def test_whole_is_a_configuration_and_all_weights(tmp_path: Path, files, whole: bool) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert hub.is_whole(tmp_path) is whole


def test_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("")
    (tmp_path / "model.safetensors").symlink_to("../../blobs/gone")

    assert not hub.is_whole(tmp_path)


def test_places_are_those_of_the_host_and_then_our_own() -> None:
    own = Path("/var/lib/spark-activator/hub")

    assert hub.places((), own) == (str(own),)
    assert hub.places(("/srv/hub", "/srv/hub"), own) == ("/srv/hub", str(own))
    assert hub.places((str(own), "/srv/hub"), own) == (str(own), "/srv/hub")


def test_revision_is_looked_up_by_name_and_by_commit(tmp_path: Path) -> None:
    root = tmp_path / "models--a--b"
    (root / "refs/pr").mkdir(parents=True)
    (root / "refs/main").write_text("1" * 40)
    (root / "refs/pr/1").write_text("2" * 40 + "\n")

    assert hub.commit(str(tmp_path), "a/b", None) == "1" * 40
    assert hub.commit(str(tmp_path), "a/b", "pr/1") == "2" * 40
    assert hub.commit(str(tmp_path), "a/b", "3" * 40) == "3" * 40
    assert hub.commit(str(tmp_path), "a/b", "v2") is None
    assert hub.snapshot(str(tmp_path), "a/b", None) is None

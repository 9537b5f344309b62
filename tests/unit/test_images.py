"""The folders of images/: what images.yaml says of them, and what each README has to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spark_activator.catalog import images

ROOT = Path(__file__).parents[2]
LIST = ROOT / "images/images.yaml"
ENTRIES, PROBLEMS = images.parse(LIST.read_text(), str(LIST))
FOLDERS = sorted(path.parent.name for path in ROOT.glob("images/*/Dockerfile"))
LAYERS = ["vllm-fp4", "vllm-mxfp4"]


def test_the_list_is_right_and_says_what_each_is_for() -> None:
    assert PROBLEMS == []
    for name, entry in ENTRIES.items():
        assert entry.summary, name
        assert entry.serves, name


def test_each_folder_is_built_by_one_entry() -> None:
    assert sorted(entry.build for entry in ENTRIES.values() if entry.build) == FOLDERS


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_readme_says_the_same_things(folder: str) -> None:
    text = (ROOT / f"images/{folder}/README.md").read_text()
    lines = re.findall(r"^\* \*\*(\w[\w ]*)", text, re.MULTILINE)

    for word in ("Base", "Build", "Arguments", "Checked", "Never built"):
        assert word in lines, f"{folder}: no line '{word}'"


@pytest.mark.parametrize("folder", LAYERS)
def test_a_layer_lies_on_the_release_that_the_list_pins(folder: str) -> None:
    text = (ROOT / f"images/{folder}/Dockerfile").read_text()
    release = ENTRIES["vllm-0.28"]

    assert f"ARG BASE={release.image.pull_spec}\n" in text
    assert f"ARG VLLM={release.serves.removeprefix('vLLM ')}\n" in text
    assert ENTRIES[folder].serves == release.serves

"""Weights: what ten saved index files say, and what the files themselves weigh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spark_activator.sizing import files_bytes, weights_bytes

HUB = Path(__file__).parents[2] / "catalog/hub"
SAVED = {path.stem: json.loads(path.read_text()) for path in sorted(HUB.glob("*.json"))}
INDEXED = {name: saved for name, saved in SAVED.items() if saved["index"]["metadata"]["total_size"]}
COUNTED = {name: saved for name, saved in INDEXED.items() if "files" in saved}

# What the tensors of these take, by parameters that the index or the configuration counts.
PARAMETERS = {
    # total_parameters of the index, 16 bits each.
    "qwen3.5-25b-reap-a3b-coding": 25_091_371_648 * 2,
}


def test_ten_repositories_are_saved_and_name_their_source() -> None:
    assert len(INDEXED) >= 10
    for saved in SAVED.values():
        assert saved["repository"].startswith("https://github.com/")
        assert len(saved["commit"]) == 40


@pytest.mark.parametrize("name", INDEXED)
def test_weights_are_within_two_per_cent_of_the_index(name: str) -> None:
    index = INDEXED[name]["index"]

    assert weights_bytes(index) == pytest.approx(index["metadata"]["total_size"], rel=0.02)


@pytest.mark.parametrize("name", COUNTED)
def test_files_weigh_what_the_index_says(name: str) -> None:
    saved = COUNTED[name]

    assert files_bytes(saved["files"]) == pytest.approx(weights_bytes(saved["index"]), rel=0.02)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_index_says_what_its_parameters_take(name: str) -> None:
    assert weights_bytes(SAVED[name]["index"]) == pytest.approx(PARAMETERS[name], rel=0.02)


def dense(config: dict[str, Any], *, size: int) -> int:
    """Count the parameters of a Llama or Qwen 2 by its configuration, in bytes."""
    hidden, count = config["hidden_size"], config["num_hidden_layers"]
    head = hidden // config["num_attention_heads"]
    keys = head * config["num_key_value_heads"]
    attention = hidden * hidden * 2 + hidden * keys * 2
    feed = 3 * hidden * config["intermediate_size"]
    embeddings = 2 * config["vocab_size"] * hidden
    return (count * (attention + feed) + embeddings) * size


@pytest.mark.parametrize(
    ("name", "size"), [("cogito-v1-preview-qwen-14b", 2), ("reflection-llama-3.1-70b", 4)]
)
def test_the_index_says_what_the_layers_take(name: str, size: int) -> None:
    saved = SAVED[name]

    assert dense(saved["config"], size=size) == pytest.approx(
        weights_bytes(saved["index"]), rel=0.02
    )


@pytest.mark.parametrize(
    "index", [{}, {"metadata": {}}, {"metadata": {"total_size": 0}}, {"metadata": "x"}]
)
def test_an_index_that_does_not_say_is_an_error_that_names_the_key(index: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"metadata\.total_size: expected bytes"):
        weights_bytes(index)


def test_an_index_of_zero_bytes_is_real_and_its_files_are_counted_instead() -> None:
    saved = SAVED["qwen3.6-27b-w4a16"]

    with pytest.raises(ValueError, match="got 0"):
        weights_bytes(saved["index"])
    assert files_bytes(saved["files"]) == 18698467264 + 849400424


def test_the_same_weights_in_another_layout_are_counted_once() -> None:
    files = {
        "model-00001-of-00001.safetensors": 100,
        "consolidated.safetensors": 100,
        "original/model.safetensors": 100,
        "tokenizer.json": 7,
    }
    assert files_bytes(files) == 100
    assert files_bytes({"consolidated.safetensors": 100}) == 100


def test_a_repository_without_weights_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\*\.safetensors"):
        files_bytes({"README.md": 100})

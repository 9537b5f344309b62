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


def parameters(config: dict[str, Any]) -> int:
    """Count the weights of a decoder by its configuration: attention, feed, words; no norms."""
    hidden = config["hidden_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = (head * config[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    attention = 2 * hidden * (queries + keys)
    feed = 3 * hidden * config["intermediate_size"] * config.get("num_local_experts", 1)
    # Gemma 3 does not say that one table is both, and always has it so.
    tied = config.get("tie_word_embeddings", config["model_type"] == "gemma3_text")
    words = (1 if tied else 2) * config["vocab_size"] * hidden
    return int(config["num_hidden_layers"] * (attention + feed) + words)


def eyes(config: dict[str, Any]) -> int:
    """Count the weights of a SigLIP encoder by its configuration."""
    hidden = config["hidden_size"]
    feed = 2 * hidden * config["intermediate_size"]
    return int(config["num_hidden_layers"] * (4 * hidden * hidden + feed))


# Dense ones, ones with experts, and one with an encoder for pictures.
@pytest.mark.parametrize(
    "name",
    [
        "cogito-v1-preview-qwen-14b",
        "granite-3.1-1b-a400m-instruct",
        "medgemma-27b-it",
        "reflection-llama-3.1-70b",
        "wizardlm-2-8x22b",
    ],
)
def test_the_index_says_what_the_layers_take(name: str) -> None:
    saved = SAVED[name]
    config = saved["config"]
    count = parameters(config.get("text_config", config))
    if "vision_config" in config:
        count += eyes(config["vision_config"])
    size = {"bfloat16": 2, "float32": 4}[config["torch_dtype"]]

    assert count * size == pytest.approx(weights_bytes(saved["index"]), rel=0.02)


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

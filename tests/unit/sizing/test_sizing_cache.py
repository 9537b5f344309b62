"""The key-value cache: what vLLM's own layers ask for, and configurations that are real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spark_activator.sizing import (
    UnknownShape,
    cache_dtype_bytes,
    estimate,
    kv_token_bytes,
    memory,
)
from spark_activator.sizing.cache import CacheShape

CATALOG = Path(__file__).parents[2] / "catalog"
CASES: dict[str, Any] = json.loads((CATALOG / "kv-configs.json").read_text())
# What vLLM says of these; made and checked by tests/integration/test_vllm_cache.py.
SAID: dict[str, Any] = json.loads((CATALOG / "kv-0.32.0.json").read_text())
SAVED = {
    path.stem: json.loads(path.read_text())
    for path in sorted((CATALOG / "hub").glob("*.json"))
    if "config" in json.loads(path.read_text())
}
KIB, GIB = 1 << 10, 1 << 30


def said(name: str) -> CacheShape:
    """Add up what vLLM's layers ask for."""
    token = windowed = window = state = 0
    for layer in SAID[name]["layers"]:
        if layer["kind"] == "SlidingWindowSpec":
            windowed += layer["page"] // layer["block"]
            window = layer["window"]
        elif layer["kind"] == "MambaSpec":
            state += layer["state"]
        else:
            token += layer["page"] // layer["block"]
    return CacheShape(token, windowed, window, state)


@pytest.mark.parametrize("name", CASES)
def test_the_cache_grows_as_vllm_says(name: str) -> None:
    case = CASES[name]

    shape = kv_token_bytes(case["config"], dtype_bytes=cache_dtype_bytes(case["kv_cache_dtype"]))

    assert shape == said(name)


def test_the_cases_are_of_every_kind() -> None:
    kinds = {layer["kind"] for said in SAID.values() for layer in said["layers"]}

    assert SAID.keys() == CASES.keys()
    assert kinds >= {"FullAttentionSpec", "SlidingWindowSpec", "MLAAttentionSpec"}
    assert {"auto", "fp8"} == {case["kv_cache_dtype"] for case in CASES.values()}


# Worked out by hand: layers x 2 (keys and values) x heads x size of a head x 2 bytes.
TOKENS = {
    "cogito-v1-preview-qwen-14b": 48 * 2 * 8 * 128 * 2,
    "deepseek-ocr-2": 12 * 2 * 10 * 128 * 2,
    "granite-3.1-1b-a400m-instruct": 24 * 2 * 8 * 64 * 2,
    # Ten of its 62 layers see everything.
    "medgemma-27b-it": 10 * 2 * 16 * 128 * 2,
    "minicpm-v-2_6-text": 28 * 2 * 4 * 128 * 2,
    # Every fourth layer of these; the others keep a state.
    "qwen3.5-25b-reap-a3b-coding": 10 * 2 * 2 * 256 * 2,
    "qwen3.5-9b-mlx-8bit": 8 * 2 * 4 * 256 * 2,
    "qwen3.6-27b-w4a16": 16 * 2 * 4 * 256 * 2,
    "reflection-llama-3.1-70b": 80 * 2 * 8 * 128 * 2,
    "wizardlm-2-8x22b": 56 * 2 * 8 * 128 * 2,
}


@pytest.mark.parametrize("name", SAVED)
def test_real_configurations(name: str) -> None:
    assert kv_token_bytes(SAVED[name]["config"], dtype_bytes=2).token == TOKENS[name]


def test_a_window_stops_growing() -> None:
    shape = kv_token_bytes(SAVED["medgemma-27b-it"]["config"], dtype_bytes=2)

    assert (shape.windowed, shape.window) == (52 * 2 * 16 * 128 * 2, 1024)
    assert shape.sequence(200_000) - shape.sequence(100_000) == 100_000 * shape.token
    assert shape.sequence(512) == 512 * (shape.token + shape.windowed)


GPT_OSS = {
    "hidden_size": 2880, "num_hidden_layers": 24, "num_attention_heads": 64, "head_dim": 64,
    "num_key_value_heads": 8, "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
}  # fmt: skip
NEMOTRON = {
    "hidden_size": 2688, "num_hidden_layers": 4, "num_attention_heads": 32, "head_dim": 128,
    "num_key_value_heads": 2, "hybrid_override_pattern": "ME*-", "mamba_num_heads": 64,
    "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4,
    "dtype": "bfloat16", "mamba_ssm_cache_dtype": "float32",
}  # fmt: skip


def test_layer_types_and_letters() -> None:
    half = kv_token_bytes(GPT_OSS, dtype_bytes=1)
    assert half == CacheShape(12 * 2 * 8 * 64, 12 * 2 * 8 * 64, 128)
    inner, convolved = 64 * 64, 64 * 64 + 2 * 8 * 128
    assert kv_token_bytes(NEMOTRON, dtype_bytes=2) == CacheShape(
        token=2 * 2 * 128 * 2, state=convolved * 3 * 2 + inner * 128 * 4
    )


def test_layers_that_share_a_cache_take_none() -> None:
    config = {**GPT_OSS, "num_kv_shared_layers": 20}

    assert kv_token_bytes(config, dtype_bytes=1).token == 2 * 2 * 8 * 64


def test_latent_attention_keeps_one_vector_and_its_index() -> None:
    config = {
        "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
        "hidden_size": 7168, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
    }  # fmt: skip
    assert kv_token_bytes(config, dtype_bytes=2).token == 61 * 576 * 2
    indexed = {**config, "index_head_dim": 128}
    assert kv_token_bytes(indexed, dtype_bytes=2).token == 61 * (576 * 2 + 132)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "num_hidden_layers: expected a whole number, got None"),
        ({"num_hidden_layers": "12"}, "num_hidden_layers: expected a whole number, got '12'"),
        ({"num_hidden_layers": 1, "layer_types": ["new"]}, "expected a known kind, got 'new'"),
        ({"num_hidden_layers": 1}, "num_attention_heads: expected a whole number"),
        ({"num_hidden_layers": 1, "num_attention_heads": 0}, "num_attention_heads"),
    ],
)
def test_what_is_not_understood_is_said(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownShape, match=message):
        kv_token_bytes(config, dtype_bytes=2)


def test_an_estimate_adds_up_and_says_why() -> None:
    saved = SAVED["cogito-v1-preview-qwen-14b"]

    sizing = estimate(saved["config"], saved["index"], context=32768, sequences=2, kv_dtype="auto")

    assert sizing.weights == 29531895808
    assert sizing.token == 192 * KIB
    assert sizing.kv == 2 * 32768 * 192 * KIB
    assert 2 * GIB < sizing.overhead < 6 * GIB
    assert "an allowance" in sizing.origin
    assert memory(sizing) % GIB == 0
    assert 0 <= memory(sizing) - sizing.weights - sizing.kv - sizing.overhead < GIB


def test_fp8_halves_the_cache() -> None:
    saved = SAVED["cogito-v1-preview-qwen-14b"]
    both = [
        estimate(saved["config"], saved["index"], context=4096, sequences=1, kv_dtype=dtype).kv
        for dtype in ("auto", "fp8")
    ]
    assert both[0] == 2 * both[1]


def test_an_unknown_dtype_is_an_error() -> None:
    with pytest.raises(ValueError, match="got 'q4'"):
        cache_dtype_bytes("q4")

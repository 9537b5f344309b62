"""What is worked out of a config.json, also of one that is odd or wrong."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search import SEARCH

from spark_activator.catalog import modelfile
from spark_activator.catalog.model import Image
from spark_activator.errors import UserError
from spark_activator.imports import guess, write
from spark_activator.imports.draft import GIB, Draft
from spark_activator.imports.guess import Repository

PLAIN: dict[str, Any] = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "head_dim": 128,
    "intermediate_size": 12288, "max_position_embeddings": 40960,
}  # fmt: skip


def filled(
    config: dict[str, Any], *, total: object = 16 * GIB, files: tuple[str, ...] = (), **said: Any
) -> Draft:
    """Fill a draft of a repository with *config*, and see that it makes a file."""
    index = {"metadata": {"total_size": total}}
    sizes = dict.fromkeys(files, 1)
    draft = Draft(name="x", model="a/b", image="i", origin="test", **said)
    guess.fill(draft, Repository("a/b", config, index, sizes, "0" * 40), recipe=bool(said))
    text = write.text(draft)
    modelfile.parse("x", text, file="x", images={"i": Image("i", "i")})
    return draft


def line(draft: Draft) -> str:
    return " ".join(word for flag in draft.args for word in flag)


@pytest.mark.parametrize(
    ("architecture", "files", "pools"),
    [
        ("Qwen3ForCausalLM", (), False),
        ("Qwen3VLForConditionalGeneration", (), False),
        # Vectors and scores: vLLM takes them for such by itself, but readiness and clients
        # have to know it too.
        ("Qwen3ForCausalLM", ("modules.json", "1_Pooling/config.json"), True),
        ("BertModel", (), True),
        ("XLMRobertaForSequenceClassification", (), True),
        ("JinaForRanking", (), True),
        ("Qwen2ForRewardModel", (), True),
        ("Unheard", (), False),
        (5, (), False),
    ],
)
def test_models_that_generate_nothing(
    architecture: object, files: tuple[str, ...], pools: bool
) -> None:
    draft = filled({**PLAIN, "architectures": [architecture]}, files=files)

    assert draft.generates is not pools
    assert ("--runner pooling" in line(draft)) is pools
    assert ("--tool-call-parser" in line(draft)) is not pools
    assert any("guess" in comment.lower() for comment in draft.comments["args"])


def test_a_recipe_for_vectors_keeps_its_own_flag() -> None:
    draft = filled(
        {**PLAIN, "architectures": ["BertModel"]}, args=[["--runner", "pooling"]], context=512
    )

    assert draft.args == [["--runner", "pooling"]]
    assert not draft.generates


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"max_position_embeddings": None, "n_positions": 1024}, 1024),
        ({"max_position_embeddings": 8192, "model_max_length": 2048}, 2048),
        ({"max_position_embeddings": None, "max_target_positions": 448}, 448),
        ({"max_position_embeddings": -5}, 32768),
        ({"max_position_embeddings": 1 << 40}, 131072),
    ],
)
def test_a_context_is_what_vllm_would_allow(config: dict[str, Any], context: int) -> None:
    assert filled({**PLAIN, **config}).context == context


def test_a_context_beyond_the_model_is_said() -> None:
    said = filled(PLAIN, context=65536).comments["context"]

    assert "By config.json it has 40960" in said[0]
    assert "context" not in filled(PLAIN, context=40960).comments


def test_a_draft_model_is_not_in_the_estimate() -> None:
    comments = filled(PLAIN, drafts=["a/draft"], context=4096).comments["memory"]

    assert "Not in it: what the draft model takes." in comments


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 10**30},
        {"num_key_value_heads": 0},
        {"head_dim": 0, "hidden_size": 0},
        {"layer_types": ["full_attention"]},
        {"layer_types": ["full_attention"] * 10**5},
        {"num_kv_shared_layers": 36},
        {"linear_attn_config": {"full_attn_layers": [[1]]}},
        {"attn_layer_period": 8, "attn_layer_offset": 4},
        {"text_config": {}},
    ],
)
def test_a_cache_that_cannot_be_worked_out_is_a_guess_that_is_said(config: dict[str, Any]) -> None:
    draft = filled({**PLAIN, **config})

    assert "The cache is a guess" in draft.comments["sizing"][0]
    assert draft.memory is not None
    assert draft.memory >= 20 * GIB


def test_parts_in_parts_end_somewhere() -> None:
    config: dict[str, Any] = dict(PLAIN)
    for _ in range(900):
        config = {"model_type": "x", "text_config": config}

    assert filled(config).memory


@pytest.mark.parametrize("total", [math.inf, math.nan, -1, 0, "5", True, None])
def test_an_index_that_does_not_say_is_no_traceback(total: object) -> None:
    with pytest.raises(UserError, match=r"expected weights as \*.safetensors"):
        filled(PLAIN, total=total)


class TooMuch(Exception):
    """No Spark can hold it."""


ODD = st.sampled_from(
    [-1, 0, 1, 7, 10**9, 10**30, 1.5, math.nan, math.inf, True, None, "x", [], {}, [None], [[1]]]
)
KEYS = st.sampled_from(
    [
        *PLAIN, "layer_types", "layers_block_type", "hybrid_override_pattern", "sliding_window",
        "sliding_window_pattern", "use_sliding_window", "kv_lora_rank", "qk_rope_head_dim",
        "index_head_dim", "v_head_dim", "full_attention_interval", "linear_attn_config",
        "linear_num_value_heads", "mamba_num_heads", "num_kv_shared_layers", "global_head_dim",
        "num_global_key_value_heads", "dtype", "quantization_config", "quantization", "auto_map",
        "vision_config", "text_config", "attn_layer_period", "attn_layer_offset",
    ]
)  # fmt: skip


@SEARCH
@given(st.dictionaries(KEYS, ODD, max_size=6), st.dictionaries(KEYS, ODD, max_size=3))
def test_any_configuration_makes_a_file_or_a_sentence(
    config: dict[str, Any], nested: dict[str, Any]
) -> None:
    whole = {**PLAIN, **config}
    if nested:
        whole["text_config"] = {**PLAIN, **nested}
    # Nothing else can be wrong with a configuration than that it asks for too much.
    with suppress(TooMuch):
        try:
            filled(json.loads(json.dumps(whole)))
        except UserError as error:
            raise (TooMuch if "more than the 109 GiB" in error.message else error) from None

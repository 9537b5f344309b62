"""Which parsers of vLLM go with which architecture, and what generates nothing: guesses.

Parsers are guessed by `model_type` of config.json.

The pairs are those of the recipes of vLLM and of the people who run a DGX Spark; the names
are in vLLM's registries (tests/catalog).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Parsers:
    """Names of a tool-call and a reasoning parser, empty where the family has none."""

    tools: str = ""
    reasoning: str = ""


# The longest beginning of a model_type counts.
PARSERS: dict[str, Parsers] = {
    "deepseek_v3": Parsers("deepseek_v3"),
    "deepseek_v32": Parsers("deepseek_v32", "deepseek_v3"),
    "deepseek_v4": Parsers("deepseek_v4", "deepseek_v4"),
    "deepseek_vl": Parsers(),
    "ernie4_5": Parsers("ernie45", "ernie45"),
    "gemma": Parsers(),
    "gemma4": Parsers("gemma4", "gemma4"),
    "glm4_moe": Parsers("glm45", "glm45"),
    "glm4_moe_lite": Parsers("glm47", "glm45"),
    "glm_moe_dsa": Parsers("glm47", "glm45"),
    "gpt_oss": Parsers("openai", "openai_gptoss"),
    "granite": Parsers("granite"),
    "granitemoehybrid": Parsers("granite4"),
    "hunyuan": Parsers("hunyuan_a13b", "hunyuan_a13b"),
    "kimi": Parsers("kimi_k2", "kimi_k2"),
    "lfm2": Parsers("lfm2"),
    "llama": Parsers("llama3_json"),
    "llama4": Parsers("llama4_pythonic"),
    "minimax_m2": Parsers("minimax_m2", "minimax_m2"),
    "minimax_m3": Parsers("minimax_m3", "minimax_m3"),
    "mistral": Parsers("mistral"),
    "ministral": Parsers("mistral"),
    "mixtral": Parsers(),
    "nemotron_h": Parsers("qwen3_coder", "nemotron_v3"),
    "olmo3": Parsers("olmo3", "olmo3"),
    "phi3": Parsers(),
    "qwen2": Parsers("hermes"),
    "qwen3": Parsers("hermes", "qwen3"),
    "qwen3_5": Parsers("qwen3_coder", "qwen3"),
    "qwen3_next": Parsers("hermes"),
    "seed_oss": Parsers("seed_oss", "seed_oss"),
    "step3p5": Parsers("step3p5", "step3p5"),
}


def guess(config: Mapping[str, Any], repository: str) -> Parsers | None:
    """Return the parsers of the model of *config*; None where nothing is known of its family."""
    kind = config.get("model_type")
    if not isinstance(kind, str):
        return None
    known = [prefix for prefix in PARSERS if kind.startswith(prefix)]
    if not known:
        return None
    found = PARSERS[max(known, key=len)]
    name = repository.lower()
    # Coders of Qwen 3 write calls as XML; they and "instruct" models do not think.
    if kind.startswith(("qwen3", "qwen3_next")) and "coder" in name:
        return Parsers("qwen3_coder")
    if kind.startswith("qwen3_next") and "thinking" in name:
        return Parsers("hermes", "qwen3")
    if kind.startswith(("qwen3", "kimi", "olmo3")) and "instruct" in name:
        return Parsers(found.tools)
    if "r1" in name.replace("_", "-").split("/")[-1].split("-") and not found.reasoning:
        return Parsers(found.tools, "deepseek_r1")
    return found


# Ends of the names of architectures, as vLLM 0.32 takes them where it has to choose (its
# config/model.py); the second kind computes vectors or scores.
_GENERATE = ("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel")
_POOL = (
    "ForTextEncoding", "ForSequenceClassification", "ForTokenClassification", "ForRewardModeling",
    "RewardModel", "ForRetrieval", "ForRanking", "ForMaskedLM", "Model",
)  # fmt: skip
# How Sentence Transformers says that it is a model for vectors, whatever its architecture.
_POOLING_FILES = ("modules.json", "1_Pooling/config.json")


def pools(config: Mapping[str, Any], files: Collection[str]) -> bool:
    """Say whether the model of *config*, with *files* beside it, generates nothing."""
    if any(file in files for file in _POOLING_FILES):
        return True
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    return isinstance(first, str) and not first.endswith(_GENERATE) and first.endswith(_POOL)

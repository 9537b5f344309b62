"""A config.json → what each layer remembers: everything, a window, or a state.

Two conventions are read: `layer_types`, a word a layer (Gemma, gpt-oss, Qwen3-Next), and
those from before it, each of a family.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

Config = Mapping[str, Any]


class UnknownShape(ValueError):
    """A config.json does not say what the cache of its model looks like."""


class Layer(Enum):
    """What a layer keeps of the tokens that it has seen."""

    FULL = "all of them"
    WINDOW = "the last ones"
    STATE = "a state of one size"
    NOTHING = "nothing"


# Where the language model is, in one with eyes or ears, and how deep it may lie.
_NESTED = ("text_config", "language_config", "llm_config", "thinker_config")
_DEEPEST = 8
# The deepest models have some 130.
_MOST = 1000
# The words of `layer_types` and of `layers_block_type`.
_WORDS = {
    "full_attention": Layer.FULL,
    "attention": Layer.FULL,
    "hybrid": Layer.FULL,
    "sliding_attention": Layer.WINDOW,
    "chunked_attention": Layer.WINDOW,
    "linear_attention": Layer.STATE,
    "mamba": Layer.STATE,
    "mlp": Layer.NOTHING,
    "moe": Layer.NOTHING,
}
# Nemotron-H: one letter a layer.
_LETTERS = {"M": Layer.STATE, "*": Layer.FULL, "-": Layer.NOTHING, "E": Layer.NOTHING}


def text_config(config: Config) -> Config:
    """Return the part that is about the language model: those with eyes or ears nest it."""
    for _ in range(_DEEPEST):
        nested = (config.get(key) for key in _NESTED)
        found = next((part for part in nested if isinstance(part, Mapping)), None)
        if found is None:
            break
        config = found
    return config


def whole(config: Config, key: str, *, default: int | None = None) -> int:
    """Return the whole number *key*.

    Raises:
        UnknownShape: It is not there and has no default, or is something else.
    """
    value = config.get(key)
    if value is None and default is not None:
        return default
    if type(value) is not int or value < 0:
        raise UnknownShape(f"config.json: {key}: expected a whole number, got {value!r}")
    return value


def layers(config: Config) -> list[Layer]:
    """Say what each layer of the language model keeps, without those that share another's.

    Args:
        config: The part about the language model (`text_config`).

    Raises:
        UnknownShape: It says nothing that is understood.
    """
    count = whole(config, "num_hidden_layers")
    if not 0 < count <= _MOST:
        raise UnknownShape(
            f"config.json: num_hidden_layers: expected 1 to {_MOST} layers, got {count}"
        )
    pattern = config.get("hybrid_override_pattern")
    types = config.get("layer_types") or config.get("layers_block_type")
    if isinstance(pattern, str):
        found = [_known(_LETTERS, letter) for letter in pattern]
    elif isinstance(types, list):
        found = [_known(_WORDS, word) for word in types]
    else:
        found = _older(config, count)
    if not count <= len(found) <= _MOST:
        raise UnknownShape(f"config.json: names {len(found)} layers, and has {count}")
    # Gemma 3n and 4: the last layers read the cache of earlier ones.
    shared = whole(config, "num_kv_shared_layers", default=0)
    if shared >= len(found):
        raise UnknownShape(f"config.json: num_kv_shared_layers: {shared} of {len(found)} layers")
    return found[: len(found) - shared]


def _known(words: Mapping[str, Layer], word: object) -> Layer:
    if not isinstance(word, str) or word not in words:
        raise UnknownShape(f"config.json: layer_types: expected a known kind, got {word!r}")
    return words[word]


def _older(config: Config, count: int) -> list[Layer]:
    every = config.get("full_attention_interval")
    if type(every) is int and every > 0:
        return [Layer.STATE if (n + 1) % every else Layer.FULL for n in range(count)]
    # Jamba: one layer of attention in so many.
    every = config.get("attn_layer_period")
    if type(every) is int and every > 0:
        offset = whole(config, "attn_layer_offset", default=0)
        return [Layer.FULL if n % every == offset else Layer.STATE for n in range(count)]
    linear = config.get("linear_attn_config")
    if isinstance(linear, Mapping) and isinstance(linear.get("full_attn_layers"), list):
        # Kimi Linear counts layers from 1.
        full = [layer for layer in linear["full_attn_layers"] if type(layer) is int]
        return [Layer.FULL if n + 1 in full else Layer.STATE for n in range(count)]
    # Qwen 2 has a window in its configuration that it does not use.
    windowed = bool(config.get("sliding_window")) and config.get("use_sliding_window", True)
    if not windowed:
        return [Layer.FULL] * count
    between = config.get("sliding_window_pattern")
    if config.get("model_type") == "gemma2":
        between = 2
    if type(between) is int and between > 1:
        return [Layer.WINDOW if (n + 1) % between else Layer.FULL for n in range(count)]
    return [Layer.WINDOW] * count

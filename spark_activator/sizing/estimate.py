"""Weights, cache and overhead of a model that nobody has measured yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_activator.catalog.model import Sizing
from spark_activator.sizing.cache import CacheShape, kv_token_bytes
from spark_activator.sizing.layers import Config, text_config
from spark_activator.sizing.weights import weights_bytes

GIB = 1 << 30
# What an engine takes besides weights and cache: an allowance, and no measurement.
_CONTEXT = 2 * GIB  # the CUDA context, libraries and the graphs of small batches
_SHARE = 0.05  # of the weights: repacking, scales and buffers of quantized kernels
# vLLM's chunk of prefill on a GPU of 70 GiB or more, where nobody says; see cache.py.
_CHUNK = 8192
# Tensors of a chunk that are alive at once, of the width of the widest layer.
_ALIVE = 4
OVERHEAD = (
    "overhead: an allowance of 2 GiB for the CUDA context and graphs, 5 % of the weights for "
    "kernels' buffers, and the activations of a chunk of 8192 tokens"
)


def cache_dtype_bytes(kv_dtype: str) -> float:
    """Return the bytes of one number in a cache of vLLM's `--kv-cache-dtype` *kv_dtype*.

    Raises:
        ValueError: It is none whose size is known.
    """
    if kv_dtype in ("auto", "bfloat16", "float16"):
        return 2
    if kv_dtype == "float32":
        return 4
    if kv_dtype.startswith("fp8"):
        return 1
    raise ValueError(f"expected a cache dtype such as 'auto' or 'fp8', got {kv_dtype!r}")


def estimate(
    config: Config,
    index: Mapping[str, Any],
    *,
    context: int,
    sequences: float,
    kv_dtype: str = "auto",
) -> Sizing:
    """Work out the memory of the model of *config* and *index*.

    Args:
        config: Its config.json.
        index: Its model.safetensors.index.json, or only `{"metadata": {"total_size": …}}`.
        context: Tokens of a sequence.
        sequences: How many whole sequences the cache holds.
        kv_dtype: vLLM's `--kv-cache-dtype`.

    Raises:
        ValueError: Something that it needs is not said (`UnknownShape`: by config.json).
    """
    weights = weights_bytes(index)
    shape = kv_token_bytes(config, dtype_bytes=cache_dtype_bytes(kv_dtype))
    return Sizing(
        weights=weights,
        kv=max(1, int(shape.sequence(context) * sequences)),
        overhead=overhead(config, weights),
        sequences=sequences,
        token=shape.token or None,
        origin=f"weights: safetensors index; kv: {_words(shape)} of config.json; {OVERHEAD}",
    )


def overhead(config: Config, weights: int) -> int:
    """Return the bytes that an engine takes besides *weights* and cache."""
    text = text_config(config)
    widest = max(
        value if isinstance(value, int) else 0
        for value in (text.get("hidden_size"), text.get("intermediate_size"))
    )
    return int(_CONTEXT + _SHARE * weights + _ALIVE * 2 * _CHUNK * widest)


def memory(sizing: Sizing) -> int:
    """Return the lease that *sizing* needs, a whole number of GiB."""
    return -(-(sizing.weights + sizing.kv + sizing.overhead) // GIB) * GIB


def _words(shape: CacheShape) -> str:
    words = [f"{shape.token} bytes a token"] if shape.token else []
    words += [f"{shape.windowed} more within {shape.window} tokens"] if shape.window else []
    words += [f"{shape.state} a sequence"] if shape.state else []
    return ", ".join(words) or "no layer with a cache"

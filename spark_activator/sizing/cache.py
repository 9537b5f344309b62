"""A config.json → how the key-value cache grows, as vLLM lays it out.

vLLM asks each layer (`get_kv_cache_spec`).  A layer of full attention keeps keys and
values of every token; one with a window those of the window; a linear or Mamba layer one
state a sequence.  Latent attention (MLA) keeps one compressed vector for all heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from spark_activator.sizing.layers import Config, Layer, UnknownShape, layers, text_config, whole

# A window keeps what is in flight besides: vLLM's chunk of prefill where nobody says, for a
# server on a GPU of 70 GiB or more (engine/arg_utils.py of vLLM 0.32).
_IN_FLIGHT = 8192
# What a state is kept in where the configuration does not say; bytes.
_DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class CacheShape:
    """How the cache of one sequence grows; bytes.

    Attributes:
        token: What every token takes, however long the sequence gets.
        windowed: What a token takes besides, while it is in the window.
        window: Tokens that a window holds; 0 where there is none.
        state: What a sequence takes, whatever its length.
    """

    token: int
    windowed: int = 0
    window: int = 0
    state: int = 0

    def sequence(self, context: int) -> int:
        """Return the bytes of one sequence of *context* tokens."""
        held = min(context, self.window + _IN_FLIGHT) if self.window else 0
        return self.token * context + self.windowed * held + self.state


def kv_token_bytes(config: Config, *, dtype_bytes: float) -> CacheShape:
    """Work out how the cache of the model of *config* grows.

    Args:
        config: The whole config.json.
        dtype_bytes: Bytes of one number in the cache: 2 for 16 bits, 1 for fp8.

    Raises:
        UnknownShape: It is not a language model, or none whose layers are understood.
    """
    text = text_config(config)
    found = layers(text)
    return CacheShape(
        token=found.count(Layer.FULL) * _full(text, dtype_bytes),
        windowed=found.count(Layer.WINDOW) * _heads(text, dtype_bytes),
        window=whole(text, "sliding_window", default=0) if Layer.WINDOW in found else 0,
        state=found.count(Layer.STATE) * _state(text) if Layer.STATE in found else 0,
    )


def _full(text: Config, dtype_bytes: float) -> int:
    """Bytes of a token in a layer of full attention."""
    if text.get("kv_lora_rank"):
        latent = whole(text, "kv_lora_rank") + whole(text, "qk_rope_head_dim")
        return ceil(latent * dtype_bytes) + _indexer(text)
    # Gemma 4: these layers have heads of their own.
    heads = whole(text, "num_global_key_value_heads", default=0)
    size = whole(text, "global_head_dim", default=0)
    return _heads(text, dtype_bytes, heads=heads, size=size)


def _indexer(text: Config) -> int:
    """Bytes of a token in the index of sparse attention: fp8, and a 32 bit scale for 128."""
    size = whole(text, "index_head_dim", default=0)
    return size + size // 128 * 4


def _heads(text: Config, dtype_bytes: float, *, heads: int = 0, size: int = 0) -> int:
    """Bytes of keys and values of a token in one layer."""
    queries = whole(text, "num_attention_heads")
    heads = heads or whole(text, "num_key_value_heads", default=queries)
    if not queries:
        raise UnknownShape("config.json: num_attention_heads: expected at least 1, got 0")
    size = size or whole(text, "head_dim", default=whole(text, "hidden_size") // queries)
    values = whole(text, "v_head_dim", default=size) or size
    if not heads or not size:
        raise UnknownShape("config.json: expected heads with a size, there are none")
    return ceil(heads * (size + values) * dtype_bytes)


def _state(text: Config) -> int:
    """Bytes of the state of one linear or Mamba layer: its convolution, and its memory."""
    plain = text.get("dtype") or text.get("torch_dtype")
    kept = _DTYPES.get(str(plain), 2)
    memory = text.get("mamba_ssm_dtype") or text.get("mamba_ssm_cache_dtype") or plain
    remembered = _DTYPES.get(str(memory), kept)
    linear = text.get("linear_attn_config")
    if isinstance(linear, Mapping):
        # Kimi Linear: queries, keys and values are convolved, and its memory has 32 bits.
        heads, size = whole(linear, "num_heads"), whole(linear, "head_dim")
        taps = whole(linear, "short_conv_kernel_size") - 1
        return 3 * heads * size * taps * kept + heads * size * size * 4
    if "linear_num_value_heads" in text:
        keys = whole(text, "linear_num_key_heads") * whole(text, "linear_key_head_dim")
        values = whole(text, "linear_num_value_heads") * whole(text, "linear_value_head_dim")
        taps = whole(text, "linear_conv_kernel_dim") - 1
        matrix = values * whole(text, "linear_key_head_dim")
        return (2 * keys + values) * taps * kept + matrix * remembered
    inner = whole(text, "mamba_num_heads") * whole(text, "mamba_head_dim")
    size, taps = whole(text, "ssm_state_size"), whole(text, "conv_kernel") - 1
    convolved = inner + 2 * whole(text, "n_groups") * size
    return convolved * taps * kept + inner * size * remembered

"""What a repository says of itself → a draft, with a comment for each guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from spark_activator import sizing
from spark_activator.catalog.model import Sizing
from spark_activator.errors import UserError
from spark_activator.imports import parsers
from spark_activator.imports.draft import GIB, SPARK_MOST, Draft
from spark_activator.imports.write import size
from spark_activator.sizing.estimate import OVERHEAD, overhead
from spark_activator.sizing.layers import text_config

# Enough for an agent's work; a longer one is the owner's to ask for.
_CONTEXT = 131_072
_SHORTEST = 4096
# A client's own requests beside each other.
_SEQUENCES = 2
_PIECE = 1 << 20
_CACHE_DTYPE = "--kv-cache-dtype"
# Where a configuration says how long a context may be; vLLM takes the smallest.
_LENGTHS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Repository:
    """What is read of a model, from the hub or a folder.

    Attributes:
        name: The repository on the hub, or the folder.
        config: Its config.json.
        index: Its model.safetensors.index.json, without the map of tensors; None: it has none.
        sizes: Bytes of its files.
        commit: The commit that was read; empty for a folder.
    """

    name: str
    config: Mapping[str, Any]
    index: Mapping[str, Any] | None
    sizes: Mapping[str, int]
    commit: str = ""


def fill(draft: Draft, repository: Repository, *, recipe: bool) -> None:
    """Put what *repository* says into *draft*; what a recipe said already stays.

    Raises:
        UserError: It has no weights that vLLM reads, or does not fit on a Spark.
    """
    if parsers.pools(repository.config, repository.sizes):
        _pooling(draft)
    elif not recipe:
        _flags(draft, repository)
    _warn(draft, repository)
    draft.vision = draft.vision or isinstance(repository.config.get("vision_config"), Mapping)
    _size(draft, repository)


def _pooling(draft: Draft) -> None:
    draft.generates = False
    if not any(words[0] in ("--runner", "--task", "--convert") for words in draft.args):
        draft.args.append(["--runner", "pooling"])
        draft.comment("args", "A guess, by its architecture: it makes vectors or scores.")


def _flags(draft: Draft, repository: Repository) -> None:
    kind = repository.config.get("model_type")
    found = parsers.guess(repository.config, repository.name)
    if found is None:
        draft.comment(
            "engine",
            f"The model_type {kind!r} is not known here: whether vLLM has it, and which "
            "parsers it needs, is for you to look up.",
        )
        return
    if found.tools:
        draft.args += [["--enable-auto-tool-choice"], ["--tool-call-parser", found.tools]]
        draft.tools = "full"
    if found.reasoning:
        draft.args.append(["--reasoning-parser", found.reasoning])
        draft.reasoning = True
    if draft.args:
        draft.comment("args", f"A guess: the parsers that go with the model_type {kind!r}.")
        draft.comment("capabilities", "A guess, as the parsers are.")
    else:
        draft.comment("engine", f"No parsers are known for the model_type {kind!r}.")


def _warn(draft: Draft, repository: Repository) -> None:
    config = repository.config
    if "auto_map" in config and ["--trust-remote-code"] not in draft.args:
        draft.comment(
            "source",
            "The repository brings code of its own.  Where vLLM does not know the model itself "
            "it needs --trust-remote-code, which runs that code.",
        )
    quantization = config.get("quantization_config")
    if isinstance(config.get("quantization"), Mapping) and not (
        isinstance(quantization, Mapping) and "quant_method" in quantization
    ):
        draft.comment("source", "Its weights are quantized for MLX, which vLLM may not read.")


def _size(draft: Draft, repository: Repository) -> None:
    weights, said = _weights(repository)
    _beyond(draft, repository.config)
    wanted = draft.context or _longest(draft, repository.config)
    shape = _shape(draft, repository.config)
    fixed = overhead(repository.config, weights)
    context = wanted
    while True:
        kv = shape.sequence(context) * _SEQUENCES if shape else max(GIB, weights // 4)
        parts = Sizing(weights, max(kv, _PIECE), fixed, _SEQUENCES, shape.token if shape else None)
        rounded = _rounded(parts)
        needed = sizing.memory(rounded)
        if needed <= SPARK_MOST or draft.context or context // 2 < _SHORTEST or not shape:
            break
        context //= 2
    if draft.memory is None and needed > SPARK_MOST:
        raise UserError(
            f"{repository.name} needs {needed // GIB} GiB with {context} tokens, more than the "
            f"{SPARK_MOST // GIB} GiB of a DGX Spark: {size(rounded.weights)} are its weights",
            hint="look for a quantized one, or give a smaller --context",
        )
    if context < wanted:
        draft.comment("context", f"Halved from {wanted} until it fits.")
    draft.context = context
    how = "the layers of config.json" if shape else "a guess, a quarter of the weights"
    _lease(draft, rounded, needed, f"weights: {said}; kv: {how}; {OVERHEAD}")


def _lease(draft: Draft, parts: Sizing, needed: int, origin: str) -> None:
    if draft.memory is None:
        draft.memory = needed
        draft.comment("memory", "An estimate, the sum of what is below in whole GiB.")
        if draft.drafts:
            draft.comment("memory", "Not in it: what the draft model takes.")
    elif draft.memory < needed:
        # Its author ran it with this much, so the cache holds less than we would give it.
        rest = draft.memory - parts.weights - parts.overhead
        draft.comment(
            "memory",
            f"The source's; by our estimate {size(needed)} would hold {_SEQUENCES} contexts.",
        )
        if rest < _PIECE:
            draft.comment("memory", "Weights and overhead alone are as large, by our estimate.")
            return
        share = max(0.1, round(_SEQUENCES * rest / parts.kv, 1))
        parts = replace(parts, kv=rest // _PIECE * _PIECE, sequences=min(share, parts.sequences))
    draft.sizing = {
        "weights": size(parts.weights),
        "kv": size(parts.kv),
        "overhead": size(parts.overhead),
        "sequences": parts.sequences,
        **({"token": f"{parts.token}B"} if parts.token else {}),
        "from": origin,
    }


def _weights(repository: Repository) -> tuple[int, str]:
    if repository.index is not None:
        try:
            return sizing.weights_bytes(repository.index), "its safetensors index"
        except ValueError:
            pass  # Some tools write 0; the files say it as well.
    try:
        return sizing.files_bytes(repository.sizes), "the sizes of its files"
    except ValueError as error:
        raise UserError(
            f"{repository.name}: {error}",
            hint="vLLM reads safetensors; GGUF files and pickles are for other engines",
        ) from None


def _longest(draft: Draft, config: Mapping[str, Any]) -> int:
    longest = _limit(config)
    if longest is None:
        draft.comment("context", "A guess: config.json does not say how long it may be.")
        return 32_768
    if longest > _CONTEXT:
        draft.comment("context", f"It could have {longest}.")
    return min(longest, _CONTEXT)


def _limit(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a context may have, by the smallest of what vLLM looks at."""
    said = (text_config(config).get(key) for key in _LENGTHS)
    return min((length for length in said if type(length) is int and length > 0), default=None)


def _beyond(draft: Draft, config: Mapping[str, Any]) -> None:
    limit = _limit(config)
    if draft.context and limit and draft.context > limit:
        draft.comment(
            "context",
            f"By config.json it has {limit}; vLLM refuses more where nothing in it says how.",
        )


def _shape(draft: Draft, config: Mapping[str, Any]) -> sizing.CacheShape | None:
    said = (words[1:] for words in draft.args if words[0].replace("_", "-") == _CACHE_DTYPE)
    dtype = next((values[0] for values in said if values), "auto")
    try:
        return sizing.kv_token_bytes(config, dtype_bytes=sizing.cache_dtype_bytes(dtype))
    except ValueError as error:
        draft.comment("sizing", f"The cache is a guess: {error}.")
        return None


def _rounded(parts: Sizing) -> Sizing:
    """Round each part up, to a tenth of a GiB or to a MiB, as it will be written."""

    def up(count: int) -> int:
        if count < GIB:
            return -(-count // _PIECE) * _PIECE
        return int(-(-count * 10 // GIB) * GIB / 10)

    return replace(parts, weights=up(parts.weights), kv=up(parts.kv), overhead=up(parts.overhead))

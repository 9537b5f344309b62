"""What of an engine's memory its lease leaves to whom, and what in a model file undoes it.

SGLang's `--mem-fraction-static` covers weights and KV cache only.  Activations,
CUDA graphs and its own tables come on top, so they are taken off the lease first.
The numbers are those by which SGLang 0.5.9 sets the fraction where nobody does
(`ServerArgs._handle_gpu_memory_settings`): 512 MiB for constant data, 1.5 MiB a
token of a prefill chunk, 2 MiB a request in the largest CUDA graph, 128 MiB for
one GPU; less for the graphs of a model that sees.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spark_activator.catalog import computed
from spark_activator.catalog.model import Engine, Model
from spark_activator.catalog.section import Report

_MIB = 1 << 20
_GIB = 1 << 30
# Up to which lease (bytes) a prefill chunk has how many tokens: as SGLang chooses
# for a GPU of that size, since the lease is all that the engine has.
_CHUNKS = ((20 * _GIB, 2048), (60 * _GIB, 4096))
_LARGE_CHUNK = 8192
_CONSTANT = (512 + 128) * _MIB
_TOKEN = 3 * _MIB // 2
# The largest graph of every GPU of at most 160 GiB, however small the lease is.
_GRAPHS = 2 * _MIB * 256
# Four bytes for each token that each running request could have.
_SLOT = 4
# Requests that SGLang runs at once unless `args` say otherwise; its own default
# of up to 4,096 has a table of gibibytes at long contexts.
RUNNING = 256
# A context that nobody told us: that of most models, and the table is small.
_UNKNOWN_CONTEXT = 131072
# A draft model and its graphs: a whole small model, or a head.
_STANDALONE, _HEAD = 6 * _GIB, 2 * _GIB
# 0.5.9 captures graphs of prefill on demand; the most that 0.5.23 counts for them.
_PREFILL_GRAPHS = 1536 * _MIB
# Models that see: SGLang takes its fraction times 0.95 and, by the size of the
# encoder, at least 0.8.
_VISION = 0.95 * 0.8
# GiB that vLLM's CPU build takes for its cache, whatever its flags say.
_CPU_CACHE = "VLLM_CPU_KVCACHE_SPACE"
# With 0 vLLM leaves the graphs out of its share.
_ESTIMATE = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"


def chunk(memory: int) -> int:
    """Return how many tokens SGLang prefills at once on a lease of *memory* bytes."""
    return next((tokens for limit, tokens in _CHUNKS if memory < limit), _LARGE_CHUNK)


def static_memory(model: Model) -> int:
    """Return the bytes that SGLang may take for weights and KV cache; 0 or less: none."""
    speculative = _last(model.args, r"speculative[-_]al[-_a-z]*")
    running = _last(model.args, r"max[-_]r[-_a-z]*") or ""
    table = _SLOT * (model.context or _UNKNOWN_CONTEXT)
    beside = _CONSTANT + _GRAPHS + _TOKEN * chunk(model.memory)
    beside += table * (int(running) if running.isdecimal() else RUNNING)
    if speculative is not None and speculative != "NGRAM":
        beside += _STANDALONE if speculative == "STANDALONE" else _HEAD
    if _last(model.args, r"enable[-_]pi[-_a-z]*") is not None:
        beside += _PREFILL_GRAPHS
    static = model.memory - beside
    return int(static * _VISION) if model.capabilities.vision else static


def check(model: Model, report: Report) -> None:
    """Report what lets the engine of *model* take more than its lease, or leaves it nothing."""
    flags = computed.TABLES.get(model.engine.value, {})
    entrypoint = model.container.entrypoint or ()
    # Split as it will be: quotes inside a flag hide it from the pattern of a block.
    for key, words in (("args", model.args), ("container.entrypoint", entrypoint)):
        for flag, instead in computed.found(flags, list(words)):
            report.add(key, f"'{flag}' {instead}")
    if model.engine is Engine.VLLM:
        _check_environment(model, report)
    on_gpu = model.image is not None and not model.image.cpu
    if model.engine is Engine.SGLANG and on_gpu and static_memory(model) <= 0:
        least = (model.memory - static_memory(model)) / _GIB
        report.add(
            "memory",
            f"expected more than {least:.1f}GiB, what SGLang takes besides weights and KV cache",
        )


def _check_environment(model: Model, report: Report) -> None:
    cache = model.env.get(_CPU_CACHE, "")
    if cache.isdecimal() and int(cache) * _GIB >= model.memory:
        report.add(f"env.{_CPU_CACHE}", "expected less than 'memory', in GiB")
    if model.env.get(_ESTIMATE, "1") != "1":
        report.add(f"env.{_ESTIMATE}", "lets CUDA graphs take memory beside the lease")


def _last(args: Sequence[str], pattern: str) -> str | None:
    """Return the last value of a flag in *args*, empty where it has none, None without it."""
    value = None
    for place, word in enumerate(args):
        name, equals, after = word.partition("=")
        if re.fullmatch(rf"--(?:{pattern})", name):
            following = args[place + 1] if place + 1 < len(args) else ""
            value = after if equals else following
    return value

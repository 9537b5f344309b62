"""Flags of an engine that its lease decides, or that take memory beside the lease.

Each table maps what the engine's parser would take (abbreviated, with underscores,
with its value behind `=` or not) to the flag and what to do instead.  Read in
vLLM 0.33.0 (`engine/arg_utils.py`), SGLang 0.5.9 and 0.5.23 (`server_args.py`,
`arg_groups/fields`).
"""

from __future__ import annotations

import re

_OURS = "is computed by the runner:"
_MEMORY = f"{_OURS} set 'memory'"
_SOCKET = f"{_OURS} the engine serves on the runner's socket"
_PORT = f"{_OURS} set 'port' for clients; the engine serves on the runner's socket"
# On unified memory the host's is the GPU's.
_BESIDE = "takes memory beside the lease, which no key allows; set 'memory' to all it needs"
_CONFIG = ("--config", "has flags that nobody checks against the lease: write them into 'args'")

Flags = dict[str, tuple[str, str]]

VLLM: Flags = {
    r"gpu[-_a-z]*": ("--gpu-memory-utilization", _MEMORY),
    r"device[-_]m[-_a-z]*": ("--device-memory-utilization", _MEMORY),
    # With it vLLM does not look at the share of the memory any more.
    r"kv[-_]cache[-_]mem[-_a-z]*": ("--kv-cache-memory-bytes", _MEMORY),
    r"num[-_]g[-_a-z]*": ("--num-gpu-blocks-override", _MEMORY),
    r"swap[-_a-z]*": ("--swap-space", _BESIDE),
    r"cpu[-_a-z]*": ("--cpu-offload-gb", _BESIDE),
    r"offl[-_a-z]*": ("--offload-group-size", _BESIDE),
    r"kv[-_]o[-_a-z]*": ("--kv-offloading-size", _BESIDE),
    # Its connectors keep a cache in the host's memory; also as --kv-transfer-config.x.
    r"kv[-_]t[-_.a-z]*": ("--kv-transfer-config", _BESIDE),
    r"config": _CONFIG,
    r"max[-_]mo[-_a-z]*": ("--max-model-len", f"{_OURS} set 'context'"),
    r"serv[-_a-z]*": ("--served-model-name", f"{_OURS} set 'aliases' or 'presets'"),
    r"shut[-_a-z]*": ("--shutdown-timeout", f"{_OURS} set 'timeouts.drain'"),
    r"model(?:[-_]tag)?": ("--model", f"{_OURS} set 'source.model'"),
    r"uds?": ("--uds", _SOCKET),
    r"host?": ("--host", _SOCKET),
    r"port?": ("--port", _PORT),
}

SGLANG: Flags = {
    r"mem[-_a-z]*": ("--mem-fraction-static", _MEMORY),
    # Activations grow with the one and graphs with the other; both are counted.
    r"chu[-_a-z]*": ("--chunked-prefill-size", _MEMORY),
    r"cuda[-_]graph[-_](?:max[-_]b|bs)[-_a-z]*": ("--cuda-graph-max-bs", _MEMORY),
    r"cpu[-_a-z]*": ("--cpu-offload-gb", _BESIDE),
    r"offl[-_a-z]*": ("--offload-group-size", _BESIDE),
    r"ple[-_]o[-_a-z]*": ("--ple-offload-embedding", _BESIDE),
    r"kt[-_][-_a-z]*": ("--kt-weight-path", _BESIDE),
    r"hic[-_a-z]*": ("--hicache-size", _BESIDE),
    r"enable[-_]hi[-_a-z]*": ("--enable-hierarchical-cache", _BESIDE),
    r"enable[-_]lm[-_a-z]*": ("--enable-lmcache", _BESIDE),
    r"enable[-_](?:draft[-_])?w[-_a-z]*": ("--enable-weights-cpu-backup", _BESIDE),
    r"disaggregation[-_]decode[-_]en[-_a-z]*": (
        "--disaggregation-decode-enable-offload-kvcache",
        _BESIDE,
    ),
    r"config": _CONFIG,
    r"cont[-_a-z]*": ("--context-length", f"{_OURS} set 'context'"),
    r"serv[-_a-z]*": (
        "--served-model-name",
        f"{_OURS} it is the model's own, and aliases work without",
    ),
    r"model(?:[-_]p[a-z]*)?": ("--model-path", f"{_OURS} set 'source.model'"),
    r"host?": ("--host", _SOCKET),
    r"port?": ("--port", _PORT),
}

TABLES = {"vllm": VLLM, "sglang": SGLANG}


def word_pattern(flags: Flags) -> str:
    """Return the pattern of one word that is one of *flags*, in JSON schema's dialect too."""
    return rf"^--(?:{'|'.join(flags)})(?:=|(?!\n)$)"


def block_pattern(flags: Flags) -> str:
    """Return the pattern of a command line, not split yet, with one of *flags* in it."""
    return rf"(?:^|[\s\"'])--(?:{'|'.join(flags)})(?:[=\s\"']|$)"


def found(flags: Flags, line: object) -> list[tuple[str, str]]:
    """Return flag and advice for each of *flags* in a command line, split or not."""
    if isinstance(line, str):
        words = [word.strip(" \t\r\n\"'=") for word in re.findall(block_pattern(flags), line)]
    elif isinstance(line, list):
        words = [
            word for word in line if isinstance(word, str) and re.search(word_pattern(flags), word)
        ]
    else:
        return []
    names = [word.removeprefix("--").partition("=")[0] for word in words]
    return [
        says for name in names for pattern, says in flags.items() if re.fullmatch(pattern, name)
    ]

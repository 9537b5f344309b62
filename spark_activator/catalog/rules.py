"""What the keys of a model file require of one another.

Each rule stands here twice, side by side: as the parser checks it and as the
schema says it.  They see the file with every `extends` resolved.
"""

from __future__ import annotations

import re
from typing import Any

from spark_activator.catalog.section import Report

# What the runner computes, as vLLM's parser would take it: abbreviated, with
# underscores, with its value behind `=` or not.  The key that says it instead.
COMPUTED = {
    r"gpu[-_a-z]*": ("--gpu-memory-utilization", "set 'memory'"),
    # With it vLLM does not look at the share of the memory any more.
    r"kv[-_]cache[-_]mem[-_a-z]*": ("--kv-cache-memory-bytes", "set 'memory'"),
    r"max[-_]mo[-_a-z]*": ("--max-model-len", "set 'context'"),
    r"serv[-_a-z]*": ("--served-model-name", "set 'aliases' or 'presets'"),
    r"shut[-_a-z]*": ("--shutdown-timeout", "set 'timeouts.drain'"),
    r"model(?:[-_]tag)?": ("--model", "set 'source.model'"),
    r"uds?": ("--uds", "the engine serves on the runner's socket"),
    r"host?": ("--host", "the engine serves on the runner's socket"),
    r"port?": ("--port", "set 'port' for clients; the engine serves on the runner's socket"),
}
_ANY = "|".join(COMPUTED)
FLAG = rf"^--(?:{_ANY})(?:=|(?!\n)$)"
FLAG_IN_BLOCK = rf"(?:^|[\s\"'])--(?:{_ANY})(?:[=\s\"']|$)"

# What only engines in a container have.
_CONTAINER_ONLY = ("image", "args", "container")


def check(values: dict[str, Any], report: Report) -> None:
    """Report what in *values* does not go together; a null is as good as no key."""
    there = {key: value for key, value in values.items() if value is not None}
    engine = there.get("engine", "vllm")
    if engine == "process":
        if "command" not in there:
            report.add("command", "required for engine 'process', but not there")
        for key in _CONTAINER_ONLY:
            if key in there:
                report.add(key, "not for engine 'process', which has no container")
        if "tcp" in there and there.get("network") == "outbound":
            report.add("tcp", "not with network 'outbound': others on this host could reach it")
    else:
        if "image" not in there:
            report.add("image", "required, but not there: a name in images.yaml")
        if "tcp" in there:
            report.add("tcp", "only for engine 'process'; others serve on '{socket}'")
        if "command" in there:
            report.add("command", "only for engine 'process'; others have 'args'")
    if engine == "vllm":
        _check_computed(there.get("args"), report)


def schema() -> dict[str, Any]:
    """Describe the same, for a file without `extends`."""
    process = {"required": ["engine"], "properties": {"engine": {"const": "process"}}}
    other = {"required": ["engine"], "properties": {"engine": {"enum": ["sglang", "container"]}}}
    outbound = {"required": ["network"], "properties": {"network": {"const": "outbound"}}}
    null = {"type": "null"}
    given = {"not": null}
    computed = {
        "not": {"type": "string", "pattern": FLAG_IN_BLOCK},
        "items": {"not": {"type": "string", "pattern": FLAG}},
    }
    return {
        "required": ["source", "memory"],
        "properties": {"source": {"required": ["model"]}},
        "allOf": [
            {
                "if": process,
                "then": {
                    "required": ["command"],
                    "properties": {"command": given, **dict.fromkeys(_CONTAINER_ONLY, null)},
                },
                "else": {
                    "required": ["image"],
                    "properties": {"image": given, "command": null, "tcp": null},
                },
            },
            {"if": outbound, "then": {"properties": {"tcp": null}}},
            {
                "if": {"not": {"anyOf": [process, other]}},
                "then": {"properties": {"args": computed}},
            },
        ],
    }


def _check_computed(args: object, report: Report) -> None:
    if isinstance(args, str):
        words = [found.strip(" \t\r\n\"'=") for found in re.findall(FLAG_IN_BLOCK, args)]
    elif isinstance(args, list):
        words = [word for word in args if isinstance(word, str) and re.search(FLAG, word)]
    else:
        return
    for word in words:
        name = word.removeprefix("--").partition("=")[0]
        for pattern, (flag, instead) in COMPUTED.items():
            if re.fullmatch(pattern, name):
                report.add("args", f"'{flag}' is computed by the runner: {instead}")

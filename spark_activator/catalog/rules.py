"""What the keys of a model file require of one another.

Each rule stands here twice, side by side: as the parser checks it and as the
schema says it.  They see the file with every `extends` resolved.
"""

from __future__ import annotations

from typing import Any

from spark_activator.catalog import computed
from spark_activator.catalog.section import Report

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
    if isinstance(engine, str) and engine in computed.TABLES:
        _check_computed(computed.TABLES[engine], there, report)


def schema() -> dict[str, Any]:
    """Describe the same, for a file without `extends`."""
    process = {"required": ["engine"], "properties": {"engine": {"const": "process"}}}
    other = {"required": ["engine"], "properties": {"engine": {"enum": ["sglang", "container"]}}}
    sglang = {"required": ["engine"], "properties": {"engine": {"const": "sglang"}}}
    outbound = {"required": ["network"], "properties": {"network": {"const": "outbound"}}}
    null = {"type": "null"}
    given = {"not": null}
    return {
        "required": ["source", "memory"],
        "properties": {
            "source": {"required": ["model"]},
            "sizing": {"required": ["weights", "kv", "overhead"]},
        },
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
                "then": _without(computed.VLLM),
            },
            {"if": sglang, "then": _without(computed.SGLANG)},
        ],
    }


def _check_computed(flags: computed.Flags, there: dict[str, Any], report: Report) -> None:
    container = there.get("container")
    # An entrypoint comes before the arguments, and is as good a place for flags.
    entrypoint = container.get("entrypoint") if isinstance(container, dict) else None
    for key, line in (("args", there.get("args")), ("container.entrypoint", entrypoint)):
        for flag, instead in computed.found(flags, line):
            report.add(key, f"'{flag}' {instead}")


def _computed(flags: computed.Flags) -> dict[str, Any]:
    """Describe a command line that has none of *flags*."""
    return {
        "not": {"type": "string", "pattern": computed.block_pattern(flags)},
        "items": {"not": {"type": "string", "pattern": computed.word_pattern(flags)}},
    }


def _without(flags: computed.Flags) -> dict[str, Any]:
    line = _computed(flags)
    return {"properties": {"args": line, "container": {"properties": {"entrypoint": line}}}}

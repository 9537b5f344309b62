"""Recipes of others for a DGX Spark → drafts.

Known: NVIDIA's local-ai-inference-recipes (`schema_version`), sparkrun's second and
spark-vllm-docker's first version (`recipe_version`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spark_activator.imports import settings, shell
from spark_activator.imports.draft import Draft

_HUB = re.compile(r"https://huggingface\.co/([^/]+/[^/?#]+)")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([a-z_][a-z0-9_]*)\}")
# What says who reads a recipe, or what is in another key as well.
_QUIET = {
    "recipe_version", "model", "runtime", "container", "metadata", "defaults", "command", "env",
    "mods", "build_args", "name", "description", "solo_only", "max_nodes", "min_nodes",
    "cluster_only",
}  # fmt: skip


def nvidia(recipe: Mapping[str, Any], *, origin: str) -> Draft:
    """Read a `recipe.yaml` of NVIDIA's local-ai-inference-recipes.

    Raises:
        NoServe: It is for another engine, or has no command.
    """
    draft = Draft(origin=origin, summary=_text(recipe, "title"))
    backend = recipe.get("backend")
    if backend != "vllm":
        raise shell.NoServe(f"backend: expected vllm, got {backend!r}")
    runtime = _mapping(recipe, "runtime")
    draft.reference = _text(runtime, "image")
    _container(_text(runtime, "setup_command"), draft)
    shell.read(shell.words(_text(_mapping(recipe, "serve"), "command")), draft)
    checkpoint = _mapping(recipe, "checkpoint")
    for key, used in (("target", draft.model), ("draft", "")):
        found = _HUB.match(_text(checkpoint, key))
        if found and key == "target":
            draft.model = used or found[1]
        elif found and found[1] not in draft.drafts:
            draft.drafts.append(found[1])
    _topology(_mapping(recipe, "topology"), draft)
    for key in ("sampling", "notes", "instructions"):
        text = recipe.get(key) or _mapping(recipe, "serve").get(key)
        if text:
            draft.lose(f"{key}: {str(text)[:200]}")
    draft.computed += [f"security: {_text(recipe, 'security')}"] if recipe.get("security") else []
    return draft


def _container(command: str, draft: Draft) -> None:
    """Learn from the `docker run` that starts the container in which the command is typed."""
    if not command:
        return
    image = draft.reference
    aside = Draft()
    try:
        shell.read([*shell.words(command), "-c", "vllm serve x"], aside)
    except shell.NoServe:
        draft.lose(f"setup_command: {command.strip()[:200]}")
        return
    for key in ("env", "mounts", "devices", "ulimits", "comments"):
        setattr(draft, key, getattr(aside, key))
    draft.computed += aside.computed
    for lost in aside.untranslated:
        draft.lose(lost)
    draft.reference = image or aside.reference


def _topology(topology: Mapping[str, Any], draft: Draft) -> None:
    for key in ("gpu_count", "node_count"):
        count = topology.get(key)
        if isinstance(count, int) and count > 1:
            draft.lose(f"topology.{key}: {count}; this installation runs on one Spark")


def sparkrun(recipe: Mapping[str, Any], *, origin: str) -> Draft:
    """Read a recipe of sparkrun, `recipe_version: "2"`.

    Raises:
        NoServe: It is for another engine, or has no command.
    """
    runtime = recipe.get("runtime", "vllm")
    if not str(runtime).startswith("vllm"):
        raise shell.NoServe(f"runtime: expected vllm, got {runtime!r}")
    summary = _text(_mapping(recipe, "metadata"), "description")
    return _templated(recipe, Draft(origin=origin, summary=summary))


def eugr(recipe: Mapping[str, Any], *, origin: str) -> Draft:
    """Read a recipe of spark-vllm-docker, `recipe_version: "1"`.

    Raises:
        NoServe: It has no command.
    """
    return _templated(recipe, Draft(origin=origin, summary=_text(recipe, "description")))


def _templated(recipe: Mapping[str, Any], draft: Draft) -> Draft:
    draft.reference = _text(recipe, "container")
    values = {**_mapping(recipe, "defaults"), "model": recipe.get("model", "")}
    shell.read(shell.words(_filled(_text(recipe, "command"), values, draft)), draft)
    draft.model = draft.model or _text(recipe, "model")
    settings.environment(draft, _mapping(recipe, "env"))
    for mod in recipe.get("mods") or ():
        draft.lose(f"mod {mod}: changes files of its image; look whether this image needs it")
    for argument in recipe.get("build_args") or ():
        draft.lose(f"build argument {argument}: belongs to its image")
    nodes = recipe.get("min_nodes") or (2 if recipe.get("cluster_only") else 1)
    if isinstance(nodes, int) and nodes > 1:
        draft.lose("it is for several machines; this installation runs on one Spark")
    for key in sorted(recipe.keys() - _QUIET):
        draft.lose(f"{key}: is not understood")
    return draft


def _filled(command: str, values: Mapping[str, Any], draft: Draft) -> str:
    """Fill in `{name}`; doubled braces are single ones."""

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][0]
        if found[1] not in values:
            draft.lose(f"{{{found[1]}}} in the command: has no default")
        return str(values.get(found[1], ""))

    return _PLACEHOLDER.sub(value, command)


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return "" if found is None else str(found)

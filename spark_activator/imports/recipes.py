"""Recipes of others for a DGX Spark → drafts.

Known: NVIDIA's local-ai-inference-recipes (`schema_version`), sparkrun's second and
spark-vllm-docker's first version (`recipe_version`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from spark_activator.imports import flags, settings, shell
from spark_activator.imports.draft import Draft

_HUB = re.compile(r"https://huggingface\.co/([^/]+/[^/?#]+)")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([a-z_][a-z0-9_]*)\}")
# What says who reads a recipe, or is read.
_QUIET = {
    "recipe_version", "model", "model_revision", "runtime", "runtime_version", "container",
    "metadata", "defaults", "command", "env", "mods", "build_args", "name", "description", "mode",
    "solo_only", "max_nodes", "min_nodes", "cluster_only",
}  # fmt: skip
# What NVIDIA's says of itself, of the machine that it was tried on and of what its command says
# again; and what is read.
_NVIDIA = {
    "schema_version", "title", "model", "hardware", "platform", "backend", "backend_version",
    "status", "variant", "validation", "precision", "checkpoint", "mtp", "spec_dec",
    "concurrency", "topology", "security", "runtime", "serve", "min_vidmem_gb",
}  # fmt: skip
_RUNTIME = {
    "kind", "label", "image", "image_url", "setup_label", "setup_target", "setup_command",
}  # fmt: skip
_SERVE = {"label", "target", "command", "port", "api_model"}
# sparkrun's own words for options of vLLM.
_WORDS = {
    "tensor_parallel": "tensor-parallel-size",
    "pipeline_parallel": "pipeline-parallel-size",
    "data_parallel": "data-parallel-size",
}


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
    _said(recipe, _NVIDIA, draft)
    _said(runtime, _RUNTIME, draft)
    _said(_mapping(recipe, "serve"), _SERVE, draft)
    draft.computed += [f"security: {_text(recipe, 'security')}"] if recipe.get("security") else []
    return draft


def _said(part: Mapping[str, Any], known: set[str], draft: Draft) -> None:
    """Pass on what *part* says besides what is *known*: people have to read it."""
    for key in sorted(set(map(str, part)) - known):
        if part.get(key):
            draft.lose(f"{key}: {str(part[key])[:200]}")


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
    for key in ("env", "mounts", "caches", "devices", "ulimits", "comments"):
        setattr(draft, key, getattr(aside, key))
    draft.computed += aside.computed
    for lost in aside.untranslated:
        draft.lose(lost)
    draft.reference = image or aside.reference
    if aside.reference and aside.reference != draft.reference:
        draft.lose(f"setup_command starts {aside.reference}, and runtime.image says {image}")


def _topology(topology: Mapping[str, Any], draft: Draft) -> None:
    for key in ("gpu_count", "node_count"):
        count = topology.get(key)
        if isinstance(count, int) and count > 1:
            draft.lose(f"topology.{key}: {count}; this installation runs on one Spark")


def sparkrun(recipe: Mapping[str, Any], *, origin: str) -> Draft:
    """Read a recipe of sparkrun, `recipe_version: "2"`.

    Raises:
        NoServe: It is for another engine.
    """
    runtime = recipe.get("runtime") or "vllm"
    # `eugr-vllm` is vLLM in the images of spark-vllm-docker.
    if not re.fullmatch(r"(?:eugr-)?vllm(?:-.*)?", str(runtime)):
        raise shell.NoServe(f"runtime: expected vllm, got {runtime!r}")
    summary = _text(_mapping(recipe, "metadata"), "description")
    draft = _templated(recipe, Draft(origin=origin, summary=summary))
    draft.revision = draft.revision or _text(recipe, "model_revision") or None
    return draft


def eugr(recipe: Mapping[str, Any], *, origin: str) -> Draft:
    """Read a recipe of spark-vllm-docker, `recipe_version: "1"`.

    Raises:
        NoServe: It has no command.
    """
    return _templated(recipe, Draft(origin=origin, summary=_text(recipe, "description")))


def _templated(recipe: Mapping[str, Any], draft: Draft) -> Draft:
    draft.reference = _text(recipe, "container")
    defaults = {str(key): value for key, value in _mapping(recipe, "defaults").items()}
    command = _text(recipe, "command")
    if command:
        filled = _filled(command, {**defaults, "model": recipe.get("model", "")}, draft)
        line = shell.words(filled)
    else:
        line = _generated(_text(recipe, "model"), defaults)
    shell.read(line, draft)
    draft.model = draft.model or _text(recipe, "model")
    if defaults.get("served_model_name") and not draft.name:
        flags.read(["--served-model-name", _word(defaults["served_model_name"])], draft)
    settings.environment(draft, _mapping(recipe, "env"))
    for mod in _listed(recipe.get("mods")):
        draft.lose(f"mod {mod}: changes files of its image; look whether this image needs it")
    for argument in _listed(recipe.get("build_args")):
        draft.lose(f"build argument {argument}: belongs to its image")
    nodes = recipe.get("min_nodes") or (2 if recipe.get("cluster_only") else 1)
    if isinstance(nodes, int) and nodes > 1:
        draft.lose("it is for several machines; this installation runs on one Spark")
    for key in sorted(set(map(str, recipe)) - _QUIET):
        draft.lose(f"{key}: is not understood")
    return draft


def _generated(model: str, defaults: Mapping[str, Any]) -> list[str]:
    """Make the command of a recipe that has none: each default is an option of vLLM."""
    line = ["vllm", "serve", model]
    for key, value in defaults.items():
        flag = f"--{_WORDS.get(key, key.replace('_', '-'))}"
        if isinstance(value, bool):
            line += [flag] if value else [f"--no-{flag.removeprefix('--')}"]
        elif isinstance(value, Mapping):
            line += [flag, _json(value)]
        elif isinstance(value, list):
            line += [flag, *map(settings.plain, value)]
        elif value is not None:
            line += [flag, settings.plain(value)]
    return line


def _filled(command: str, values: Mapping[str, Any], draft: Draft) -> str:
    """Fill in `{name}`; doubled braces are single ones."""
    used = set()

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][0]
        used.add(found[1])
        if found[1] not in values:
            draft.lose(f"{{{found[1]}}} in the command: has no default")
        return _word(values.get(found[1]))

    filled = _PLACEHOLDER.sub(value, command)
    # One of each is what there is.
    alone = {key for key in _WORDS if values.get(key) == 1}
    for key in sorted(values.keys() - used - alone - {"model", "served_model_name"}):
        draft.lose(f"default {key}: {_word(values[key])[:200]}: is not in the command")
    return filled


def _word(value: object) -> str:
    return _json(value) if isinstance(value, dict) else settings.plain(value)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(_keyed(value), default=str)


def _keyed(value: object) -> object:
    """Return *value* with texts for the keys that YAML has and JSON has not, such as dates."""
    if isinstance(value, Mapping):
        return {settings.plain(key): _keyed(item) for key, item in value.items()}
    return [_keyed(item) for item in value] if isinstance(value, list) else value


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _text(value: Mapping[str, Any], key: str) -> str:
    return settings.plain(value.get(key))

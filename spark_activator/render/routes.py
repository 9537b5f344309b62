"""The list that nginx routes by: every frozen model, and whether its socket listens."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Keep, Lifecycle, Model

# Engines that are started so compute vectors or scores and answer no chats.
_POOLING = ("--runner", "--task", "--is-embedding")
_CHATS = ("auto", "draft", "generate")


def routes(
    models: Iterable[Model],
    listening: Collection[str],
    host: HostSettings | None = None,
    retired: Mapping[str, Mapping[str, str | None]] | None = None,
) -> str:
    """Render the list.

    Args:
        models: The frozen models.
        listening: Names of models whose socket listens.
        host: The frozen host settings; None takes the defaults.
        retired: Names that were models once, each with `reason` and `instead`.
    """
    host = host or HostSettings()
    listed = {
        model.name: _entry(model, enabled=model.name in listening)
        for model in sorted(models, key=lambda model: model.name)
    }
    settings: dict[str, Any] = {
        "default_model": host.default_model,
        "origins": list(host.origins),
    }
    if retired:
        settings["retired"] = {name: dict(why) for name, why in sorted(retired.items())}
    return lines(listed, settings)


def lines(models: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Write *models* a line each: nginx finds one by its name and parses that line alone."""
    begin = json.dumps({**settings, "models": {}}, separators=(",", ":")).removesuffix("}}")
    entries = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}"
        for name, entry in models.items()
    )
    return f"{begin}\n{entries}\n}}}}\n"


def _entry(model: Model, *, enabled: bool) -> dict[str, Any]:
    return {
        "port": model.port,
        "enabled": enabled,
        "names": list(model.names),
        "context": model.context,
        "capabilities": model.capabilities.known(),
        "chat": chats(model),
        "utility": model.lifecycle is Lifecycle.UTILITY,
        "exclusive": model.lifecycle is Lifecycle.EXCLUSIVE,
        "idle": None if model.keep is Keep.ALWAYS else model.timeouts.idle,
        # OpenAI's clients want a number; when a file was written says nothing.
        "created": 0,
    }


def chats(model: Model) -> bool:
    """Say whether its engine is started for anything but vectors, scores and transcripts."""
    words = [word for arg in model.args for word in arg.split("=", 1)]
    for place, word in enumerate(words):
        if word in _POOLING:
            follows = words[place + 1] if place + 1 < len(words) else ""
            return word != "--is-embedding" and follows in _CHATS
    return True

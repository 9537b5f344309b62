"""The list that nginx routes by: every frozen model, and whether its socket listens."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from spark_activator.catalog.model import Model


def routes(models: Iterable[Model], listening: Collection[str]) -> str:
    """Render the list.

    Args:
        models: The frozen models.
        listening: Names of models whose socket listens.
    """
    listed = {
        model.name: {
            "port": model.port,
            "enabled": model.name in listening,
            "names": list(model.names),
            "context": model.context,
            # OpenAI's clients want a number; when a file was written says nothing.
            "created": 0,
        }
        for model in sorted(models, key=lambda model: model.name)
    }
    return json.dumps({"models": listed}, indent=1) + "\n"

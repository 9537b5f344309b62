"""Names and ports that two models want: the owner's wins over the catalog's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spark_activator.catalog.model import Model
from spark_activator.errors import Problem


@dataclass(slots=True)
class _Claims:
    """Who has which port, and which name towards clients."""

    ports: dict[int, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def problems(self, model: Model, file: str) -> list[Problem]:
        """Say what of *model* others have already."""
        found = []
        holder = self.ports.get(model.port) if model.port else None
        if holder:
            found.append(Problem(file, "port", f"{model.port} is the port of '{holder}'"))
        for name in model.names:
            holder = self.names.get(name, model.name)
            if holder != model.name:
                key = _key(model, name)
                found.append(Problem(file, key, f"the name '{name}' belongs to '{holder}'"))
        return found

    def take(self, model: Model) -> None:
        """Give *model* its port and names."""
        if model.port:
            self.ports[model.port] = model.name
        self.names.update(dict.fromkeys(model.names, model.name))


def resolve(
    models: Mapping[str, Model], files: Mapping[str, str]
) -> tuple[dict[str, Model], list[Problem]]:
    """Keep the models that do not clash.

    The owner's come before the catalog's, each in the order of their names; a
    model's own name comes before aliases and presets of its side.  Whoever comes
    too late is left out, alone.

    Args:
        models: By name, each valid in itself; a port of 0 is none yet.
        files: The file of each model, for messages.
    """
    kept: dict[str, Model] = {}
    problems: list[Problem] = []
    claims = _Claims()
    for vendor in (False, True):
        side = [model for name, model in sorted(models.items()) if model.vendor is vendor]
        for model in side:
            claims.names.setdefault(model.name, model.name)
        for model in side:
            found = claims.problems(model, files[model.name])
            problems += found
            if not found:
                claims.take(model)
                kept[model.name] = model
    return kept, problems


def _key(model: Model, name: str) -> str:
    if name in model.aliases:
        return "aliases"
    return f"presets.{name}" if name in model.presets else ""

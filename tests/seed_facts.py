"""What the seed said of its models (tests/catalog/seed), and what became of each part.

A *part* is one thing that the seed's service had: a flag, an environment variable, a
path inside the container, a device, or a word such as `image`.  A *treatment* is an entry
of `treated`, of the model's own facts or of `common.yaml`: the part, or the part and
its value, with `computed`, `changed` or `dropped` and the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from catalog_shipped import ROOT

from spark_activator.catalog import document
from spark_activator.catalog.model import Model

SEED = ROOT / "tests/catalog/seed"
COMMON = SEED / "common.yaml"
KINDS = {"computed", "changed", "dropped"}


@dataclass(frozen=True, slots=True)
class Part:
    """*name* says which part it is, *value* what it had in the seed: empty for a bare flag."""

    name: str
    value: str

    @property
    def keys(self) -> tuple[str, str]:
        """The entries that may explain it: for this value, or for any."""
        return f"{self.name} {self.value}", self.name


@cache
def facts() -> dict[str, dict[str, Any]]:
    """The facts of each served name."""
    return {path.stem: read(path) for path in sorted(SEED.glob("*.yaml")) if path != COMMON}


@cache
def common() -> dict[str, dict[str, str]]:
    """The treatments that hold for every model."""
    treated: dict[str, dict[str, str]] = read(COMMON)["treated"]
    return treated


def read(path: Path) -> dict[str, Any]:
    return document.parse(path.read_text(), str(path))


def parts(name: str) -> list[Part]:
    """Take the seed's service of *name* apart."""
    seed = facts()[name]
    found = [Part(flag, word(value)) for flag, value in seed["args"].items()]
    found += [Part(key, value) for key, value in seed["env"].items()]
    found += [Part(inside, outside) for inside, outside in seed["mounts"].items()]
    found += [Part(device, "") for device in seed["devices"]]
    found += [Part(key, seed[key]) for key in ("shm", "restart", "start_period", "image")]
    found += [Part("command", " ".join(seed["command"]))]
    found += [Part(key, str(seed[key])) for key in ("build", "entrypoint") if key in seed]
    found += [Part(f"mod {mod}", "") for mod in seed["mods"]]
    return found + [Part(f"plugin {plugin}", "") for plugin in seed["plugins"]]


def kept(part: Part, model: Model) -> bool:
    """Whether our model file has *part* as it was."""
    if part.name.startswith("--"):
        return flags(model).get(dashed(part.name)) == part.value
    if part.name.startswith("/dev/"):
        return part.name in model.container.devices
    if part.name.startswith("/"):
        return part.name in model.container.mounts
    return model.env.get(part.name) == part.value


def flags(model: Model) -> dict[str, str]:
    """Flags of the model file, each with the words behind it."""
    found: dict[str, str] = {}
    last = ""
    for piece in model.args:
        if piece.startswith("--"):
            last, _, value = piece.partition("=")
            last = dashed(last)
            found[last] = value
        else:
            found[last] = f"{found[last]} {piece}".strip()
    return found


def dashed(flag: str) -> str:
    """Spell a flag as vLLM documents it."""
    return flag.replace("_", "-")


def word(value: object) -> str:
    return "" if value is True else str(value)

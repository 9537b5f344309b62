"""A checkout of dgx-spark-inference-stack, read; nothing in it is changed."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import spark_activator.migration
from spark_activator.errors import UserError
from spark_activator.imports.variables import dotenv
from spark_activator.migration import compose, engines, places
from spark_activator.migration.compose import Service
from spark_activator.migration.translate import Taken

COMPOSE = "docker-compose.yml"
_OVERRIDE = "docker-compose.override.yml"
_KEY = "VLLM_API_KEY"
# Where its containers have their hub caches.
_CACHES = ("/models", "/root/.cache/huggingface", "/root/.cache/huggingface/hub")
# Nobody writes a megabyte of settings by hand; the seed's largest file has 40 KiB.
_MAX_FILE = 1 << 20


@dataclass(slots=True)
class Checkout:
    """What was found in one.

    Attributes:
        root: Where it lies, absolute.
        models: The service of each model, by the model's name.
        entries: Its models.json.
        key: The value of VLLM_API_KEY, empty where there is none.
        caches: Directories of the hub cache in it.
        profiles: All profiles of its services.
        seed: What the seed itself says (seed.json).
        problems: What could not be read.
    """

    root: Path
    seed: Mapping[str, Any]
    models: dict[str, Service] = field(default_factory=dict)
    entries: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    key: str = ""
    caches: Sequence[Path] = ()
    profiles: Sequence[str] = ()
    problems: list[str] = field(default_factory=list)

    def rooted(self, taken: Taken) -> Taken:
        """Make the paths of *taken* absolute: those of a compose file are its own."""
        mounts = taken.file.get("container", {}).get("mounts")
        if not mounts:
            return taken
        file = taken.origin.partition(",")[0]
        whole = {inside: str(self.place(file, host)) for inside, host in mounts.items()}
        return places.with_mounts(taken, whole, str(self.root))

    def place(self, file: str, host: str) -> Path:
        """Return the absolute path that *host* is in the compose file *file*."""
        if host.startswith("~/"):
            host = f"{home()}{host[1:]}"
        return Path(os.path.normpath((self.root / file).parent / host))


def home() -> Path:
    """Return the home of whoever calls, also behind sudo."""
    user = os.environ.get("SUDO_USER")
    try:
        return Path(pwd.getpwnam(user).pw_dir) if user else Path.home()
    except (KeyError, RuntimeError):
        return Path("/nonexistent")


def read(root: Path) -> Checkout:
    """Read the checkout in *root*.

    Raises:
        UserError: There is none, or what makes it one cannot be read.
    """
    # Compose names a project by its directory, which may be a link.
    root = root.resolve() if ".." in root.parts else root.absolute()
    models_json = _models_json(root)
    if not (root / COMPOSE).is_file() or models_json is None:
        raise UserError(
            f"{root} is no checkout of dgx-spark-inference-stack: "
            f"expected {COMPOSE} and models.json in it",
            hint="name the directory that has both",
        )
    facts = Path(spark_activator.migration.__file__).with_name("seed.json")
    found = Checkout(root, json.loads(facts.read_text()))
    found.entries = _entries(models_json)
    variables = {"HOME": str(home()), "PWD": str(root)}
    variables |= dotenv(_text(root / ".env")) if (root / ".env").exists() else {}
    services = compose.services(_bodies(root, found.problems), variables)
    found.models = dict(_models(services, found))
    found.profiles = sorted({name for each in services.values() for name in each.profiles})
    # Its services know the key that is shipped where `.env` has none.
    shipped = (each.environment.get(_KEY, "") for each in services.values())
    found.key = variables.get(_KEY) or next(filter(None, shipped), "")
    found.caches = _caches(found, services.values())
    return found


def _caches(found: Checkout, services: Iterable[Service]) -> Sequence[Path]:
    """Name the hub caches of a checkout, also where a service mounts another."""
    # Its `models/` is a `--download-dir`, which has the shape of a hub cache.
    lying = [found.root / "models", found.root / "vllm_cache_huggingface"]
    for service in services:
        for inside, host in service.mounts.items():
            if inside.rstrip("/") in _CACHES:
                lying.append(found.place(service.file, host))
    caches = [cache.resolve() for place in lying for cache in caches_of(place)]
    return list(dict.fromkeys(caches))


def caches_of(directory: Path) -> Sequence[Path]:
    """Name the hub caches at *directory*: itself, or its `hub` where it is a whole HF_HOME."""
    return [
        place
        for place in (directory / "hub", directory)
        if place.is_dir() and (place.name == "hub" or place.name == "models" or _has_models(place))
    ]


def _has_models(directory: Path) -> bool:
    try:
        return any(name.startswith("models--") for name in os.listdir(directory))
    except OSError:
        return False


def _models_json(root: Path) -> Path | None:
    # Where releases differ: beside the compose file, or with the validator.
    places = [root / "models.json", *sorted(root.glob("*/models.json"))]
    return next((place for place in places if place.is_file()), None)


def _entries(file: Path) -> dict[str, Mapping[str, Any]]:
    try:
        body = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: expected JSON: {error}") from None
    if not isinstance(body, dict):
        raise UserError(f"{file}: expected an object with an entry for each model")
    return {name: entry for name, entry in body.items() if isinstance(entry, dict)}


def _bodies(root: Path, problems: list[str]) -> list[tuple[str, Mapping[str, Any]]]:
    first = compose.parse(_text(root / COMPOSE), str(root / COMPOSE))
    names = [*compose.included(first), COMPOSE]
    names += [_OVERRIDE] if (root / _OVERRIDE).exists() else []
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name in names:
        try:
            text = _text(root / name)
            found.append((name, compose.parse(text, str(root / name))))
        except UserError as error:
            problems.append(f"left out: {error.message}")
    return found


def _models(services: Mapping[str, Service], found: Checkout) -> list[tuple[str, Service]]:
    by_container = {str(entry.get("container")): name for name, entry in found.entries.items()}
    models = []
    for service in services.values():
        line = engines.read(service.words)
        served = (line.flags.get("--served-model-name") or ("",))[0] if line else ""
        name = by_container.get(service.container) or served
        if name:
            models.append((name, service))
    missing = sorted(set(found.entries) - {name for name, _ in models})
    if missing:
        found.problems.append(f"in models.json without a service: {', '.join(missing)}")
    return models


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _MAX_FILE:
            raise UserError(f"{file}: expected at most {_MAX_FILE >> 20} MiB")
        return file.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: expected UTF-8") from None

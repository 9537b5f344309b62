"""A `docker compose` file → drafts, one for each service that serves with vLLM."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from spark_activator.imports import settings, shell
from spark_activator.imports.draft import Draft, name_of

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<kind>:?[-+?])(?P<other>[^}]*))?\}|(?P<plain>\w+))"
)
# What the installation decides for every container, or what is only compose's.
_OURS = {
    "image", "command", "entrypoint", "environment", "volumes", "shm_size", "ulimits", "devices",
    "container_name", "restart", "profiles", "networks", "ports", "expose", "healthcheck",
    "deploy", "logging", "ipc", "runtime", "depends_on", "labels", "hostname", "stdin_open",
    "tty", "network_mode", "gpus", "pull_policy", "init", "stop_grace_period", "platform",
}  # fmt: skip


def drafts(
    document: Mapping[str, Any], *, origin: str, environment: Mapping[str, str]
) -> list[Draft]:
    """Read the services of a compose file that serve with vLLM.

    Args:
        document: The file, parsed.
        origin: What to call it.
        environment: What `${NAME}` is, as `.env` beside the file says.
    """
    found = []
    services = document.get("services")
    for name, service in services.items() if isinstance(services, Mapping) else ():
        if not isinstance(service, Mapping):
            continue
        filled = {str(key): _filled(value, environment) for key, value in service.items()}
        draft = Draft(origin=f"{origin}, service {name}")
        try:
            _service(str(name), filled, draft)
        except shell.NoServe:
            continue
        found.append(draft)
    return found


def substituted(text: str, environment: Mapping[str, str]) -> str:
    """Replace `${NAME:-default}` and its kin as compose does; what is not known is empty."""

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        name = found["name"] or found["plain"]
        known, kind = environment.get(name), found["kind"] or ""
        there = known is not None and (bool(known) or not kind.startswith(":"))
        if kind.endswith("+"):
            return found["other"] if there else ""
        if not there and kind.endswith("-"):
            return substituted(found["other"], environment)
        return known or ""

    return _VARIABLE.sub(value, text)


def _filled(value: object, environment: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return substituted(value, environment)
    if isinstance(value, Mapping):
        return {key: _filled(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, environment) for item in value]
    return value


def _service(name: str, service: dict[str, Any], draft: Draft) -> None:
    draft.reference = str(service.get("image") or "")
    line = [*_line(service.get("entrypoint")), *_line(service.get("command"))]
    shell.read(line, draft, image=draft.reference)
    draft.name = draft.name or name_of(str(service.get("container_name") or name))
    variables = service.get("environment") or {}
    given = settings.pairs(variables) if isinstance(variables, list) else variables
    settings.environment(draft, given)
    for volume in _items(service.get("volumes")):
        settings.volume(draft, _short(volume))
    for device in _items(service.get("devices")):
        draft.devices.append(str(device).partition(":")[0])
    if service.get("shm_size"):
        settings.shared_memory(draft, str(service["shm_size"]))
    limits = service.get("ulimits")
    for limit, value in limits.items() if isinstance(limits, Mapping) else ():
        settings.ulimit(draft, str(limit), value)
    for key in sorted(service.keys() - _OURS):
        draft.lose(f"{key}: the runner has no such setting")


def _line(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(word) for word in value]
    return shlex.split(value, comments=False) if isinstance(value, str) else []


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _short(volume: object) -> str:
    """Return compose's long form of a volume as its short one."""
    if isinstance(volume, Mapping):
        return f"{volume.get('source', '')}:{volume.get('target', '')}"
    return str(volume)

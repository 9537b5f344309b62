"""A `docker compose` file → drafts, one for each service that serves with vLLM."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from spark_activator.imports import settings, shell
from spark_activator.imports.draft import Draft, name_of
from spark_activator.imports.variables import substitute

# What is read.
_READ = {
    "image", "command", "entrypoint", "environment", "volumes", "shm_size", "ulimits", "devices",
    "container_name",
}  # fmt: skip
# What the installation decides for every container, or what is only compose's.
_OURS = {
    "restart", "profiles", "networks", "ports", "expose", "healthcheck", "deploy", "logging",
    "ipc", "runtime", "depends_on", "labels", "hostname", "stdin_open", "tty", "network_mode",
    "gpus", "pull_policy", "init", "stop_grace_period", "platform",
}  # fmt: skip
_WHY = {
    "privileged": "no engine gets rights on the host",
    "cap_add": "no engine gets rights on the host",
    "security_opt": "no engine gets rights on the host",
    "pid": "no engine gets rights on the host",
    "env_file": "its variables are not read; write those that matter into env",
    "extends": "what it extends is not read",
    "build": "an image that is built has to be named in /etc/spark-activator/images.yaml",
}
# Services that are about language models, though not with vLLM.
_ENGINE = re.compile(r"vllm|sglang|llama|ollama|text-generation|tensorrt|trtllm|lmdeploy")


def drafts(
    document: Mapping[str, Any], *, origin: str, environment: Mapping[str, str]
) -> list[Draft]:
    """Read the services of a compose file that serve with vLLM.

    Args:
        document: The file, parsed.
        origin: What to call it.
        environment: What `${NAME}` is, as `.env` beside the file says.
    """
    found, others = [], []
    services = document.get("services")
    for name, service in services.items() if isinstance(services, Mapping) else ():
        if not isinstance(service, Mapping):
            continue
        filled = {str(key): _filled(value, environment) for key, value in service.items()}
        draft = Draft(origin=f"{origin}, service {name}")
        try:
            _service(str(name), filled, draft)
        except shell.NoServe as error:
            if _ENGINE.search(str(filled).lower()):
                others.append(f"service {name}: {error}")
            continue
        found.append(draft)
    for draft in found[:1]:
        for other in others:
            draft.lose(other)
    return found


def _filled(value: object, environment: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return substitute(value, environment)
    if isinstance(value, Mapping):
        return {key: _filled(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, environment) for item in value]
    return value


def _service(name: str, service: dict[str, Any], draft: Draft) -> None:
    draft.reference = settings.plain(service.get("image"))
    line = [*_line(service.get("entrypoint")), *_line(service.get("command"))]
    shell.read(line, draft, image=draft.reference)
    draft.name = draft.name or name_of(settings.plain(service.get("container_name")) or name)
    variables = service.get("environment")
    if isinstance(variables, list):
        for line_ in variables:
            _variable(draft, settings.plain(line_))
    elif isinstance(variables, Mapping):
        settings.environment(draft, variables)
    for volume in _items(service, "volumes", draft):
        settings.volume(draft, _short(volume))
    for device in _items(service, "devices", draft):
        settings.device(draft, settings.plain(device))
    if service.get("shm_size"):
        settings.shared_memory(draft, str(service["shm_size"]))
    limits = service.get("ulimits")
    for limit, value in limits.items() if isinstance(limits, Mapping) else ():
        settings.ulimit(draft, str(limit), value)
    _rest(service, draft)


def _variable(draft: Draft, line: str) -> None:
    name, equals, value = line.partition("=")
    if equals:
        settings.environment(draft, {name: value})
    else:
        settings.from_outside(draft, name)


def _rest(service: dict[str, Any], draft: Draft) -> None:
    """Say of each other key that it is the runner's, or lost."""
    ours = sorted(service.keys() & _OURS)
    if ours:
        draft.computed.append(f"{', '.join(ours)}: the runner decides that")
    for key in sorted(service.keys() - _READ - _OURS):
        draft.lose(f"{key}: {_WHY.get(key, 'the runner has no such setting')}")


def _line(value: object) -> list[str]:
    """Read a command, a list or a text; Compose itself knows no shell.

    Raises:
        NoServe: Its quotes are not closed.
    """
    if isinstance(value, list):
        return [settings.plain(word) for word in value if word is not None]
    try:
        # Written as a block it may have backslashes, as for a shell.
        text = re.sub(r"\\\s*\n", " ", value) if isinstance(value, str) else ""
        return shlex.split(text, comments=False)
    except ValueError as error:
        raise shell.NoServe(f"its command line: {error}") from None


def _items(service: Mapping[str, Any], key: str, draft: Draft) -> list[Any]:
    value = service.get(key)
    if value is not None and not isinstance(value, list):
        draft.lose(f"{key}: expected a list")
    return value if isinstance(value, list) else []


def _short(volume: object) -> str:
    """Return compose's long form of a volume as its short one."""
    if isinstance(volume, Mapping):
        source, target = volume.get("source"), volume.get("target")
        return f"{settings.plain(source)}:{settings.plain(target)}"
    return settings.plain(volume)

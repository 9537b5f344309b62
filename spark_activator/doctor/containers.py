"""One look at Docker: what it says of itself, and which containers there are."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from spark_activator.doctor.facts import Container, DockerFacts

if TYPE_CHECKING:
    import docker

# A question is answered at once, or Docker hangs.
ASK_TIMEOUT = 10


def may_ask(address: str | None) -> bool:
    """Whether we may ask Docker at the socket *address*, as `look` would; also where it is away."""
    path = _base(address).removeprefix("unix://")
    return not os.path.exists(path) or os.access(path, os.R_OK | os.W_OK)


def look(address: str | None) -> tuple[DockerFacts | None, str]:
    """Ask Docker at the socket *address*, None being its own default.

    Returns:
        What it says; or None, and why it says nothing.
    """
    base = _base(address)
    path = base.removeprefix("unix://")
    if path != base and not os.path.exists(path):
        return None, f"there is no {path}"
    if not may_ask(address):
        return None, f"{path}: permission denied, use sudo"
    if path != base:
        try:
            # First by hand: the SDK forgets to close what it could not connect.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(ASK_TIMEOUT)
                probe.connect(path)
        except OSError as error:
            return None, f"{path}: {error.strerror or error}"
    import docker
    import requests

    try:
        api = docker.APIClient(base, version="auto", timeout=ASK_TIMEOUT)
        try:
            return _facts(api), ""
        finally:
            api.close()
    except (docker.errors.DockerException, requests.RequestException) as error:
        return None, str(error).splitlines()[0]


def _base(address: str | None) -> str:
    if address:
        return f"unix://{address}"
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


def _facts(api: docker.APIClient) -> DockerFacts:
    info: dict[str, Any] = api.info()
    listed: list[dict[str, Any]] = api.containers(all=True)
    return DockerFacts(
        version=str(info.get("ServerVersion", "?")),
        cgroup_driver=str(info.get("CgroupDriver", "?")),
        runtimes=frozenset(info.get("Runtimes") or {}),
        cdi=bool(info.get("CDISpecDirs")),
        root=str(info.get("DockerRootDir", "/var/lib/docker")),
        containers=tuple(_container(api, entry) for entry in listed),
    )


def _container(api: docker.APIClient, entry: dict[str, Any]) -> Container:
    import docker

    names = entry.get("Names") or [entry["Id"]]
    try:
        host = api.inspect_container(entry["Id"])["HostConfig"]
        restart = str((host.get("RestartPolicy") or {}).get("Name") or "no")
    except docker.errors.NotFound:
        restart = "no"  # gone since it was listed
    return Container(
        name=str(names[0]).removeprefix("/"),
        running=entry.get("State") == "running",
        labels=dict(entry.get("Labels") or {}),
        restart=restart,
    )

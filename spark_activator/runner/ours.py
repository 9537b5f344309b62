"""The containers of this installation: which there are, and how they go.

What carries another installation's label, or none, is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio

from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner import spec
from spark_activator.runner.dockerd import CALL_LIMIT, START_LIMIT, Dockerd, Missing

# Docker is asked again this often while it is away.
ASK_AGAIN = 1.0
# A container that is being removed by somebody else is gone within seconds.
REMOVAL_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Found:
    """A container with our label."""

    id: str
    model: str
    config: str
    activation: str
    running: bool


async def find_all(dockerd: Dockerd, layout: Layout) -> list[Found]:
    """List every container of ours.

    Raises:
        EngineFailed: Docker does not answer.
    """
    ours = [spec.MODEL_LABEL, f"{spec.RUN_LABEL}={layout.run}"]
    listed = await dockerd.call(
        "list containers", lambda api: api.containers(all=True, filters={"label": ours})
    )
    return [_found(entry) for entry in listed]


async def remove(dockerd: Dockerd, layout: Layout, name: str) -> None:
    """End and remove every container of the model *name*; on return there is none.

    Raises:
        EngineFailed: Docker does not answer, or cannot remove one.
    """
    deadline = trio.current_time() + REMOVAL_LIMIT + spec.STOP_TIMEOUT
    while left := [found for found in await find_all(dockerd, layout) if found.model == name]:
        for found in left:
            await _remove_one(dockerd, found)
        if trio.current_time() > deadline:
            raise EngineFailed("start_failed", f"Docker cannot remove the container of '{name}'")
        await trio.lowlevel.checkpoint()


async def _remove_one(dockerd: Dockerd, found: Found) -> None:
    try:
        if found.running:
            await dockerd.call(
                "stop the engine",
                lambda api: api.stop(found.id, timeout=spec.STOP_TIMEOUT),
                limit=spec.STOP_TIMEOUT + CALL_LIMIT,
            )
        await dockerd.call(
            "remove the engine",
            lambda api: api.remove_container(found.id, force=True, v=True),
            limit=START_LIMIT,
        )
    except Missing:
        pass
    except EngineFailed as error:
        if error.code == "docker_unavailable":
            raise
        # Somebody else may be removing it: look again, a little later.
        await trio.sleep(ASK_AGAIN)


def _found(entry: dict[str, Any]) -> Found:
    labels = entry.get("Labels") or {}
    return Found(
        str(entry["Id"]),
        str(labels.get(spec.MODEL_LABEL, "")),
        str(labels.get(spec.CONFIG_LABEL, "")),
        str(labels.get(spec.ACTIVATION_LABEL, "")),
        entry.get("State") == "running",
    )

"""A world whose engines are containers: what a test leaves behind is removed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner_world import Activator, World, opened, until

from spark_activator.protocol import Busy, Ready
from spark_activator.runner.spec import MODEL_LABEL


def docker(*words: str) -> str:
    """Run the docker client and return what it printed."""
    return subprocess.run(
        ["docker", *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def containers(name: str) -> list[str]:
    """The ids of all containers of model *name*, running or not."""
    return docker("ps", "-aq", "--no-trunc", "--filter", f"label={MODEL_LABEL}={name}").split()


def remove_all(which: str) -> None:
    """Remove all containers that the filter *which* finds; some may be on their way out already."""

    def none_left() -> bool:
        left = docker("ps", "-aq", "--filter", which).split()
        if left:
            # What is being removed, or was since it was listed, is an error to Docker.
            subprocess.run(["docker", "rm", "-f", *left], check=False, capture_output=True)
        return not left

    until(none_left, what=f"containers of {which} are gone")


@contextmanager
def opened_with_docker(tmp_path: Path) -> Iterator[World]:
    """Open a world; at its end the doors are open again, since units need Docker to stop."""
    with opened(tmp_path) as world:
        yield world
        for door in world.doors:
            door.open()
    for door in world.doors:
        door.close()
    for name in world.units:
        remove_all(f"label={MODEL_LABEL}={name}")


def ready(world: World, name: str, in_flight: int = 1) -> tuple[Activator, str]:
    """Ask for a model and wait for it; return who asked and the activation."""
    activator = Activator(world, name)
    activator.say(Busy(in_flight))
    return activator, activator.wait(Ready).upstream

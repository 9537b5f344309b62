"""All checks, in the order in which they are said."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from spark_activator.doctor import machine, serving, world
from spark_activator.doctor.facts import Facts, Finding
from spark_activator.doctor.world import UnitsLike
from spark_activator.layout import Layout

__all__ = ["CHECKS", "Finding", "UnitsLike", "examine", "judge"]

# By name; docs/doctor.md has a row for each.
CHECKS: dict[str, Callable[[Facts], Iterator[Finding]]] = {
    "docker": machine.docker,
    "gpu-devices": machine.gpu_devices,
    "driver": machine.driver,
    "memory": machine.memory,
    "disk": machine.disk,
    "nginx": serving.nginx,
    "ports": serving.ports,
    "seed": serving.seed,
    "stale": serving.stale,
    "access": serving.access,
}


def examine(layout: Layout, units: UnitsLike) -> list[Finding]:
    """Look at this machine and say what was found; nothing is changed, no model wakes."""
    return judge(world.read(layout, units))


def judge(facts: Facts) -> list[Finding]:
    """Say what *facts* mean."""
    return [finding for check in CHECKS.values() for finding in check(facts)]

"""On what terms the GPU is shared: budget and settings, read anew for every plan.

All runners read the same files under the plan's lock, so that all make the same
plan, also in the moment in which the owner changes something.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_activator.layout import Layout
from spark_activator.runner import settings
from spark_activator.runner.gpu_files import boottime, read_pause
from spark_activator.runner.memory_values import Memory, budget_of
from spark_activator.runner.plan import Settings


@dataclass(frozen=True, slots=True)
class Terms:
    """*budget* is what all leases may take together, in bytes."""

    budget: int
    settings: Settings


def read_terms(layout: Layout, machine: Memory) -> Terms:
    """Read them; what cannot be read has its default.

    Args:
        layout: Where they are.
        machine: How much memory there is.  That does not change, and asking the
            driver for it can take a second, which is not for under the lock.
    """
    host = settings.load_host(layout)
    pause = read_pause(layout.gpu, boottime())
    return Terms(budget_of(host, machine), Settings(host.contention, pause, host.pace))

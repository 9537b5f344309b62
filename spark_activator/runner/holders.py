"""Who has the memory, ours by their leases and others on the GPU; and the wait for those who go."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

import trio

from spark_activator.errors import EngineFailed
from spark_activator.runner.engine import Engine
from spark_activator.runner.gpu import GpuProcess
from spark_activator.runner.lease import Ledger
from spark_activator.runner.memory import Gauge, wait_free
from spark_activator.runner.memory_values import GIB
from spark_activator.runner.plan_values import GOING
from spark_activator.runner.refusals import shown

logger = logging.getLogger(__name__)

# A refusal is one sentence; the largest few are the ones to stop.
MOST = 5
# What the control group of a process engine of ours is called after.
OUR_UNIT = "spark-engine@"


def is_ours(process: GpuProcess, containers: Collection[str]) -> bool:
    """Say whether *process* belongs to an engine of ours, *containers* being the ids of those."""
    return OUR_UNIT in process.group or any(known in process.group for known in containers)


def sentence(leases: Iterable[tuple[str, int | None]], foreign: Iterable[GpuProcess]) -> str:
    """Say who has memory, the largest first; empty where nobody is known."""
    sized = [(size or 0, f"'{name}' has a lease of {_gib(size)}") for name, size in leases]
    sized += [
        (
            process.memory or 0,
            f"'{process.name or 'unknown'}' (process {process.pid}) "
            f"has {_gib(process.memory)} of the GPU",
        )
        for process in foreign
    ]
    said = [words for _, words in sorted(sized, key=lambda entry: -entry[0])]
    more = f" and {len(said) - MOST} more" if len(said) > MOST else ""
    return ", ".join(said[:MOST]) + more


async def who_has_memory(ledger: Ledger, engine: Engine, gauge: Gauge) -> str:
    """Look who has memory besides us; what cannot be seen is left out."""
    leases: list[tuple[str, int | None]] = []
    processes = await trio.to_thread.run_sync(gauge.processes)
    ours: frozenset[str] = frozenset()
    try:
        leases = [(shown(lease.model), lease.memory) for lease in await ledger.others()]
        if processes:
            ours = await engine.containers()
    except EngineFailed as failure:
        logger.info("Cannot see all of who has memory, ignoring: %s", failure.message)
    return sentence(leases, [process for process in processes if not is_ours(process, ours)])


async def wait_free_beside(ledger: Ledger, gauge: Gauge, need: int, *, on_gpu: bool) -> bool:
    """Wait until *need* bytes are free, as long as memory comes back or a holder is on its way out.

    Returns:
        False when they never will be, or nothing more is coming.

    Raises:
        EngineFailed: The directory of leases cannot be used.
    """
    possible = gauge.read().room(on_gpu=on_gpu).can_ever_fit(need)
    while not await wait_free(gauge, need, on_gpu=on_gpu):
        # Who goes may keep its memory for longer than a stall; its own runner
        # says when no more of it is coming.
        going = any(lease.state in GOING for lease in await ledger.others())
        if not (possible and going):
            return False
    return True


def _gib(size: int | None) -> str:
    return "unknown size" if size is None else f"{size / GIB:.1f} GiB"

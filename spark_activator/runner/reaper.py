"""Remove the engine of a runner that did not come back.

    python -I -m spark_activator.runner.reaper NAME

Only if nobody holds the lease: it is taken under the plan's lock, and kept
while the container is removed, so that no runner can start or adopt one
meanwhile.  Docker is never called under the plan's lock.
"""

from __future__ import annotations

import logging
import os
import sys

import trio

from spark_activator.catalog.model import Engine
from spark_activator.errors import EngineFailed, SparkError
from spark_activator.layout import Layout
from spark_activator.runner import logs, ours, settings, upstream
from spark_activator.runner.dockerd import Dockerd
from spark_activator.runner.lease import Ledger
from spark_activator.runner.lock import Lock
from spark_activator.runner.plan_lock import under_plan

logger = logging.getLogger(__name__)


async def reap(layout: Layout, dockerd: Dockerd, name: str) -> bool:
    """Remove what is left of the engine of *name*; False when its lease is held.

    Raises:
        EngineFailed: Docker does not answer, or the directory cannot be used.
    """
    ledger = Ledger(layout, name)
    # Not the one that is stored: it is ours for a moment only.
    lock = Lock(ledger.lease_lock.path)
    if not await under_plan(layout.gpu, lock.take_nowait):
        return False
    try:
        if dockerd.is_there or not _is_process(layout, name):
            await ours.remove(dockerd, layout, name)
        upstream.remove_all(layout.upstream(name))
    finally:
        ledger.free_reaped(lock)
    return True


def _is_process(layout: Layout, name: str) -> bool:
    """Say whether the engine of *name* needs no Docker: its supervisor ends it."""
    try:
        return settings.load_model(layout, name).engine is Engine.PROCESS
    except EngineFailed:
        return False


def main(argv: list[str]) -> int:
    """Reap the model named in *argv* and return the exit status."""
    logs.configure()
    if len(argv) != 1:
        logger.error("usage: python -m spark_activator.runner.reaper NAME")
        return 2
    layout = Layout.from_environment(os.environ)
    dockerd = Dockerd(settings.load_host(layout).docker_host)
    try:
        if not trio.run(reap, layout, dockerd, argv[0]):
            logger.info("The lease of '%s' is held, leaving its engine alone", argv[0])
    except SparkError as error:
        logger.error("Cannot remove the engine of '%s': %s", argv[0], error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The runner's process: what systemd passes, and the exit status.

python -I -m spark_activator.runner NAME
"""

from __future__ import annotations

import logging
import os
import socket

import trio

from spark_activator import listen
from spark_activator.errors import SparkError
from spark_activator.layout import Layout
from spark_activator.runner import logs
from spark_activator.runner.gpu import nvml
from spark_activator.runner.rounds import Runner

logger = logging.getLogger(__name__)


async def _run(
    name: str, layout: Layout, listener: socket.socket, stored: dict[str, list[int]]
) -> bool:
    # Loaded here: under the plan's lock nobody waits for a driver.
    await trio.to_thread.run_sync(nvml().memory)
    return await Runner(name, layout, listener).run(stored)


def main(argv: list[str]) -> int:
    """Run the runner of the model named in *argv* and return the exit status."""
    logs.configure()
    if len(argv) != 1:
        logger.error("usage: python -m spark_activator.runner NAME")
        return 2
    passed = listen.inherited()
    try:
        listener = listen.listener(passed, "runner")
        layout = Layout.from_environment(os.environ)
        return 0 if trio.run(_run, argv[0], layout, listener, passed) else 1
    except SparkError as error:
        logger.error("%s", error.message)
        return 1

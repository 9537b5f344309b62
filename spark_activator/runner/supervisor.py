"""Keep one process engine: it outlives its runner, and is never left alone for long.

    python -I -m spark_activator.runner.supervisor NAME

This is the service behind `spark-engine@NAME.socket`.  A runner connects, says
what to run, and reads what becomes of it (`supervisor_lines`).  The engine does
not live in the runner's sandbox and does not end with it: a runner that comes
back gets the engine handed over.  Whose connection is lost without a `stop`
has 30 s to do so; then the engine is ended as `stop` would.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys

import trio

from spark_activator import listen, notify
from spark_activator.errors import UserError
from spark_activator.runner.supervisor_engine import adopt_orphans
from spark_activator.runner.supervisor_serving import KEEP, LEAVE_AFTER, Supervisor

logger = logging.getLogger(__name__)


async def _watch_sigterm(
    supervisor: Supervisor, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            supervisor.stop()


async def _feed_watchdog() -> None:
    while (interval := notify.watchdog_interval()) is not None:
        notify.watchdog()
        await trio.sleep(interval)


async def _run(listener: socket.socket, keep: float, leave_after: float) -> None:
    supervisor = Supervisor(keep=keep, leave_after=leave_after)
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_sigterm, supervisor)
        nursery.start_soon(_feed_watchdog)
        notify.ready("no engine")
        await supervisor.serve(listener)
        notify.stopping("no engine")
        nursery.cancel_scope.cancel()


def main(argv: list[str]) -> int:
    """Run the supervisor and return its exit status."""
    parser = argparse.ArgumentParser(prog="spark_activator.runner.supervisor")
    parser.add_argument("name", help="the model")
    parser.add_argument("--keep", type=float, default=KEEP, metavar="S")
    parser.add_argument("--leave-after", type=float, default=LEAVE_AFTER, metavar="S")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        listener = listen.listener(listen.inherited(), "engine")
        adopt_orphans()
    except (UserError, OSError) as error:
        logger.error("Cannot supervise '%s': %s", args.name, error)
        return 1
    trio.run(_run, listener, args.keep, args.leave_after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

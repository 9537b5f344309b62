"""Load, serve, go: `python3 -m spark_activator.demo --help`."""

from __future__ import annotations

import signal
import sys

import trio

from spark_activator.demo import faults, memory, settings
from spark_activator.demo.engine import Engine
from spark_activator.demo.load import load
from spark_activator.demo.log import say
from spark_activator.demo.server import Server, open_listeners


async def _run(given: settings.Settings) -> int:
    status = 0
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        ends = [signal.SIGINT] if given.faults.ignore_sigterm else [signal.SIGINT, signal.SIGTERM]
        await nursery.start(_watch_signals, ends, stop, nursery.cancel_scope)
        status = await _load_and_serve(given, stop)
        nursery.cancel_scope.cancel()
    return status


async def _load_and_serve(given: settings.Settings, stop: trio.Event) -> int:
    held = memory.HeldMemory()
    # What a SIGTERM in the middle of loading leaves with.
    status: int | None = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when, stop, nursery.cancel_scope)
        status = await _load(given, held)
        nursery.cancel_scope.cancel()
    if status is not None:
        return status
    try:
        listeners = open_listeners(given)
    except OSError as error:
        say(f"ERROR:    {error}")
        return 1
    await Server(given, Engine(given)).serve(listeners, stop)
    return 0


async def _load(given: settings.Settings, held: memory.HeldMemory) -> int | None:
    """Load; return the status to leave with, or None to serve."""
    try:
        await load(given, held)
    except faults.ToldToExit as told:
        return told.status
    if given.faults.keep_memory:
        memory.keep_after_exit(given.faults.keep_memory)
    if given.faults.never_ready:
        await trio.sleep_forever()
    return None


async def _cancel_when(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


async def _watch_signals(
    ends: list[signal.Signals],
    stop: trio.Event,
    everything: trio.CancelScope,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(*ends) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                # Asked twice: nobody wants to wait for the drain.
                everything.cancel()
            stop.set()


def main(argv: list[str]) -> int:
    """Run the engine and return its exit status."""
    given = settings.parse(argv)
    told = given.faults
    if told.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if told.fork_child is not None:
        faults.fork_child(told.fork_child)
    status = trio.run(_run, given, strict_exception_groups=True)
    if status == 0:
        # A failure's own last line is what people and breakers look at.
        say("INFO:     Finished server process")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

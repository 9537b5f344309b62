"""The guard of a load: it ends the engine at once when the host is about to wedge.

A Spark without memory does not kill anybody: it stops answering, and only its
power switch helps.  So a load that takes more than was thought has to go while
there is still something left.
"""

from __future__ import annotations

import logging

import trio

from spark_activator.errors import EngineFailed
from spark_activator.runner.course import Course
from spark_activator.runner.ending import Why
from spark_activator.runner.guard_rules import Danger, Judge
from spark_activator.runner.holders import who_has_memory
from spark_activator.runner.memory import GIB, READ_EVERY, Memory

logger = logging.getLogger(__name__)


async def watch_load(course: Course) -> None:
    """Watch from the engine's start until it is ready; on danger tell the ending, and kill."""
    await course.started.wait()
    if course.served_before:
        return  # what serves already is not loading, whatever else the host does
    gauge = course.gauge
    judge = Judge(gauge.read().host.floor)
    while not course.ready.is_set():
        reading = gauge.read()
        course.note_memory(reading)
        danger = judge.danger(reading.host.available, gauge.stalled(), trio.current_time())
        if danger is not None:
            await _end(course, danger, reading)
            return
        with trio.move_on_after(READ_EVERY):
            await course.ready.wait()


async def _end(course: Course, danger: Danger, reading: Memory) -> None:
    tools, first = course.tools, _failure(course, danger, reading)
    # Told before it is killed: the reason is ours, not that it has exited.
    course.before_end = reading.room(on_gpu=course.on_gpu).available
    course.ending.tell(Why.FAILED, first.message, first)
    with trio.CancelScope(shield=True):
        try:
            await tools.engine.kill()
        except EngineFailed as failure:
            # It is removed next, however long that takes; all that is lost is time.
            logger.error("Failed to end the load at once: %s", failure.message)
        who = await who_has_memory(tools.ledger, tools.engine, course.gauge)
        if who:
            course.ending.explain(first, _failure(course, danger, reading, f"; {who}"))


def _failure(course: Course, danger: Danger, reading: Memory, who: str = "") -> EngineFailed:
    room, model = reading.host, course.tools.model
    took = course.used
    own = "" if took is None else f" after it took {took / GIB:.1f} GiB"
    return EngineFailed(
        "memory_short",
        f"the load of '{model.name}' was ended{own}, because {danger}: "
        f"{room.available / GIB:.1f} of {room.total / GIB:.1f} GiB were available, "
        f"{room.floor / GIB:.1f} GiB have to stay, and its lease is "
        f"{model.memory / GIB:.1f} GiB{who}",
    )

"""The page cache, dropped for a start that would not fit beside it.

`MemAvailable` counts what the page cache would give back.  On unified memory the
driver may not wait for that: it says that there is no memory while tens of GiB
are available.  Dropping needs rights that the runner does not have, so it asks a
unit that can do nothing else (`spark-drop-caches.socket`), where host.yaml says so.
"""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from spark_activator.runner.course import Course
from spark_activator.runner.memory_values import GIB, Memory
from spark_activator.state import Phase

logger = logging.getLogger(__name__)

# It writes dirty pages first, which is seconds on a disk that is busy; without
# an answer the gate decides with what there is.
ANSWER_LIMIT = 30.0
DONE = b"done\n"


async def make_room(course: Course, reading: Memory) -> None:
    """Have the page cache dropped where the engine would not fit in what is free without."""
    need = course.tools.model.memory
    on_host = reading.room(on_gpu=course.on_gpu) is reading.host
    if not course.host.drop_caches or not on_host or reading.free >= need + reading.host.floor:
        return
    course.show(Phase.MEMORY, "the page cache to be dropped")
    if await drop(course.tools.layout.drop_caches_socket):
        now = course.gauge.read()
        gained = (now.free - reading.free) / GIB
        logger.info("the page cache was dropped: %.1f GiB more are free", gained)


async def drop(socket: Path) -> bool:
    """Ask for it and wait for the answer; False, and a line in the log, where none comes."""
    answer = b""
    with trio.move_on_after(ANSWER_LIMIT):
        try:
            async with await trio.open_unix_socket(str(socket)) as stream:
                async for piece in stream:
                    answer += piece[: len(DONE)]
        except (OSError, RuntimeError, trio.BrokenResourceError) as error:
            logger.warning("Cannot have the page cache dropped, going on without: %s", error)
            return False
    if answer != DONE:
        logger.warning("The page cache was not dropped (see: journalctl -u 'spark-drop-caches@*')")
        return False
    return True

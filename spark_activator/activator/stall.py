"""End relays whose client takes nothing any more.

A reader may be slow: its answer waits in the kernel and in one pipe.  One that
takes nothing at all, but is there (a stopped program, a suspended browser tab),
is seen by no keep-alive probe, and would keep its model loaded for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

import trio

from spark_activator.activator.lane import Lane

logger = logging.getLogger(__name__)

# nginx has the same (`send_timeout`), so that both ways to a model are alike.
STALL_LIMIT: Final = 600.0
# How much longer it may become, at most.
LOOK_EVERY: Final = 60.0


async def end_stalled(lanes: Callable[[], Iterable[Lane]]) -> None:
    """Look at all of *lanes* every now and then, until cancelled."""
    stuck: dict[Lane, tuple[int, float]] = {}
    while True:
        await trio.sleep(LOOK_EVERY)
        now, before, stuck = trio.current_time(), stuck, {}
        for lane in lanes():
            taken = lane.stuck_at
            if taken is None:
                continue
            then, since = before.get(lane, (taken, now))
            stuck[lane] = (taken, since if taken == then else now)
            if now - stuck[lane][1] >= STALL_LIMIT:
                logger.warning("A client took nothing for %.0f s, closing on it", STALL_LIMIT)
                lane.hang_up()

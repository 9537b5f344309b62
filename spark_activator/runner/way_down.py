"""From the end of an activation to the moment when nothing of its engine is left.

drain ─ engine gone ─ upstream gone ─ memory back
"""

from __future__ import annotations

import logging
import time

import trio

from spark_activator.errors import EngineFailed
from spark_activator.facts import fact
from spark_activator.protocol import Failed, Stopping
from spark_activator.runner import events, history, memory, starts, upstream
from spark_activator.runner.course import Course
from spark_activator.runner.ending import Why
from spark_activator.runner.events import Event
from spark_activator.runner.gpu_files import boottime
from spark_activator.runner.init_lock import INIT_POLL
from spark_activator.runner.plan import LeaseState
from spark_activator.state import Phase

logger = logging.getLogger(__name__)

# Docker is asked again this often whether the engine can be removed.
ASK_AGAIN = 1.0
# Told to stop while Docker is away, we leave the rest to the reaper.
GIVE_UP_AFTER = 20.0


def failed_line(failure: EngineFailed) -> Failed:
    """Say *failure* as the protocol does."""
    return Failed(failure.code, failure.message, failure.retry_after, failure.holder, failure.due)


async def dismiss(course: Course) -> None:
    """Tell the activators, and let them finish where there is something to finish."""
    demand, why = course.tools.demand, course.ending.why
    failure = _failure(course)
    if course.started.is_set() and why in (Why.EXITED, Why.FAILED):
        course.last.log(course.how or f"did not start: {course.ending.words}")
    if failure is not None and await _mismeasured(course, failure):
        # Nobody is told: the next activation is for those who wait now.
        logger.warning("%s, trying once more: another engine went meanwhile", failure.message)
        course.retried = True
        return
    _tell_owner(course, failure)
    if failure is not None:
        logger.error("%s: %s", failure.code, failure.message)
        # Before it is said: whoever asks again then is refused where it has to be.
        await starts.failed(course, failure)
        demand.dismiss(failed_line(failure))
    elif why is Why.NOBODY:
        pass  # who has come since waits for the next activation
    elif why is Why.EXITED or not course.ready.is_set():
        demand.dismiss(Stopping())
    else:
        await _drain(course)


async def _mismeasured(course: Course, failure: EngineFailed) -> bool:
    """Say whether the engine may have failed because memory came back while it measured.

    What goes on purpose waits for `init.lock`; a person's stop and a crash do not.
    """
    if course.ready.is_set() or not course.started.is_set() or not course.may_be_retried:
        return False
    if failure.code != "start_failed" or not course.beside:
        return False
    try:
        here = {lease.model for lease in await course.tools.ledger.others()}
    except EngineFailed:
        return False  # a directory that cannot be read: the failure is told
    return not course.beside <= here


def _tell_owner(course: Course, failure: EngineFailed | None) -> None:
    layout, name, ending = course.tools.layout, course.tools.model.name, course.ending
    if ending.why is Why.YIELD and ending.to:  # it goes for nobody where the GPU is paused
        events.tell(layout, Event.EVICTED, name, message=ending.words, to=ending.to)
    elif failure is not None and ending.why in (Why.FAILED, Why.EXITED):
        events.tell(layout, Event.FAILED, name, code=failure.code, message=failure.message)
    elif ending.why is Why.EXITED:
        words = f"the engine of '{name}' {course.how}"
        events.tell(layout, Event.FAILED, name, code="engine_died", message=words)


def _failure(course: Course) -> EngineFailed | None:
    name = course.tools.model.name
    if not course.ready.is_set():
        if course.ending.why is Why.EXITED:
            words = f"the engine of '{name}' {course.how} (see: spark-model logs {name})"
            return EngineFailed("start_failed", words)
        if course.ending.why is Why.OPERATOR:
            return EngineFailed("shutting_down", f"'{name}' was stopped by hand")
    return course.ending.failure


async def _drain(course: Course) -> None:
    tools = course.tools
    tools.ledger.describe(LeaseState.YIELDING)
    tools.demand.ask_to_yield(course.ending.words)
    course.show(Phase.DRAINING, "requests in flight")
    limit = tools.model.timeouts.drain
    logger.info("%s", fact("drains", in_flight=tools.demand.in_flight, limit=limit))
    with trio.move_on_after(limit):
        await tools.demand.wait_yielded()
    tools.demand.end_leaving()


async def wait_for_quiet(course: Course) -> None:
    """Where we go on purpose, wait until no other engine initialises, and let none begin.

    What a stop gives back would be mis-measured.  A person's stop, and an engine
    that has ended anyway, do not wait.
    """
    tools = course.tools
    if course.ending.why is not Why.YIELD or not course.ready.is_set():
        return
    course.show(Phase.DRAINING, "another engine that initialises")
    lock = tools.ledger.init_lock
    try:
        while not (course.told_to_stop() or lock.try_take()):  # noqa: ASYNC110  # it has no event
            await trio.sleep(INIT_POLL)
    except EngineFailed as failure:
        logger.warning("Failed to wait for other engines, ignoring: %s", failure.message)


async def remove_engine(course: Course) -> bool:
    """Return when nothing of the engine is left; False when we have to go before."""
    tools = course.tools
    tools.ledger.describe(LeaseState.STOPPING, in_flight=0)
    course.show(Phase.STOPPING, "the engine to end")
    why = course.ending.why
    logger.info(
        "%s",
        fact(
            "stops the engine",
            activation=tools.ledger.lease.activation,
            why="none" if why is None else why.name.lower(),
        ),
    )
    began = trio.current_time()
    if course.before_end is None and not course.exited.is_set():
        course.before_end = course.available
    while True:
        try:
            await tools.engine.stop()
            break
        except EngineFailed as failure:
            # Who comes now must not wait for what may take hours.
            tools.demand.dismiss(failed_line(failure))
            course.show(Phase.STOPPING, "Docker, to remove the engine")
            if course.told_to_stop() and trio.current_time() - began > GIVE_UP_AFTER:
                logger.error("Cannot remove the engine, leaving it to the reaper")
                return False
            await trio.sleep(ASK_AGAIN)
    upstream.remove_all(tools.upstream)
    return True


async def reclaim(course: Course) -> None:
    """Return when the engine's memory is back, or no more of it is coming."""
    tools, baseline = course.tools, course.tools.ledger.lease.baseline
    if baseline is None or not course.started.is_set():
        return
    tools.ledger.describe(LeaseState.RECLAIMING)
    course.show(Phase.RECLAIMING, "its memory to come back")
    owed = memory.Owed(baseline, tools.model.memory, course.before_end, course.used)
    missing = await memory.wait_returned(course.gauge, owed, on_gpu=course.on_gpu)
    if missing:
        logger.warning("%.1f GiB of memory have not come back", missing / memory.GIB)


def record(course: Course) -> None:
    """Write what this activation took to its history."""
    tools = course.tools
    if not course.started.is_set():
        return
    # An adopted engine was started by somebody else: no measure of a start.
    own = course.seconds is not None and not course.restored
    entry = {
        "activation": tools.ledger.lease.activation,
        "config": tools.config,
        "image": tools.model.image.pull_spec if tools.model.image else None,
        "image_id": tools.engine.image,
        "time": int(time.time()),
        "start": round(course.seconds or 0.0, 3) if own else None,
        "stop": _since_stop(course),
        "memory": course.used,
        "phases": {phase: round(at, 3) for phase, at in tools.board.began.items()},
        "ended": round(boottime(), 3),
        "why": course.ending.why,
        "words": course.ending.words,
    }
    history.append(tools.layout.history(tools.model.name), entry)


def _since_stop(course: Course) -> float | None:
    """Return seconds from the engine's end to the return of its memory."""
    began = course.tools.board.began.get(Phase.STOPPING)
    return None if began is None else round(boottime() - began, 3)

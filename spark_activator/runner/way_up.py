"""From a lease that is held to an engine that can generate: adopted, or made.

adopt, or: memory ─ init lock ─ engine ─ readiness ─ ready
"""

from __future__ import annotations

import logging

import trio

from spark_activator import notify
from spark_activator.errors import EngineFailed
from spark_activator.runner import caches, memory, readiness, starts, upstream
from spark_activator.runner.course import Course
from spark_activator.runner.demand import KEPT
from spark_activator.runner.ending import Why
from spark_activator.runner.footprint import Footprint
from spark_activator.runner.gpu_files import boottime
from spark_activator.runner.holders import wait_free_beside, who_has_memory
from spark_activator.runner.plan import LeaseState
from spark_activator.runner.way_down import ASK_AGAIN, failed_line
from spark_activator.state import Phase

logger = logging.getLogger(__name__)

# A runner that comes back to a lease without an engine gives its activators
# this long to come back too; they reconnect at once.
RETURN_LIMIT = 2.0
# A runner that comes back waits this long for Docker without a word to its
# clients: a Docker that is busy answers within it, and one that restarts, too.
DOCKER_PATIENCE = 20.0


async def bring_up(course: Course) -> None:
    """Return when the engine is ready, or the ending was told meanwhile.

    Raises:
        EngineFailed: It could not be brought up.
    """
    tools = course.tools
    tools.ledger.describe(LeaseState.STARTING)
    course.show(Phase.MEMORY, "the engines that are here")
    if not await _adopt(course):
        if course.restored and not await _is_still_wanted(course):
            course.ending.tell(Why.NOBODY)
            return
        await _make_engine(course)
    logger.info("activation %s of the engine", tools.engine.activation)
    tools.ledger.describe(activation=tools.engine.activation)
    course.started.set()
    await _wait_ready(course)
    if course.ending.why is not None:
        return  # told in the same moment: nobody must hear that it is ready
    tools.ledger.init_lock.initialised()
    course.seconds = course.since_start()
    _judge_footprint(course)
    _describe_ready(course)
    course.show(Phase.READY)
    course.ready.set()
    starts.worked(course)


def _describe_ready(course: Course) -> None:
    ledger, demand = course.tools.ledger, course.tools.demand
    now, in_flight = boottime(), demand.in_flight
    # An engine that was adopted has been ready before, and served those it was for.
    since = ledger.lease.ready_since
    if since is None:
        demand.brought_up()
    ledger.describe(
        LeaseState.READY,
        in_flight=in_flight,
        held=demand.held,
        ready_since=now if since is None else since,
        idle_since=None if in_flight else now,
    )


async def _adopt(course: Course) -> bool:
    """Adopt the engine that is there; one whose lease was kept is waited for.

    Docker may be slow or restart just then: an engine that serves must not be
    ended for that, and what it serves runs on without us.
    """
    tools, refused = course.tools, False
    while True:
        try:
            adopted = await tools.engine.adopt()
            if adopted and refused:
                # Those who were refused may have streams, and nobody who speaks for them.
                tools.demand.keep(KEPT, 1)
            return adopted
        except EngineFailed as failure:
            if not course.restored or failure.code != "docker_unavailable":
                raise
            course.show(Phase.MEMORY, "Docker, to find the engine")
            if course.since_start() > DOCKER_PATIENCE:
                tools.demand.dismiss(failed_line(failure))
                refused = True
            await trio.sleep(ASK_AGAIN)


async def _is_still_wanted(course: Course) -> bool:
    demand = course.tools.demand
    if course.stays:
        return True
    with trio.move_on_after(RETURN_LIMIT):
        while not demand.wanting:
            await demand.wait_change()
    return bool(demand.wanting)


async def _make_engine(course: Course) -> None:
    tools, need = course.tools, course.tools.model.memory
    await tools.clear_others()
    course.show(Phase.MEMORY, f"{need / memory.GIB:.1f} GiB of free memory")
    # The first reading may load the driver.
    reading = await trio.to_thread.run_sync(course.gauge.read)
    await caches.make_room(course, reading)
    if not await wait_free_beside(tools.ledger, course.gauge, need, on_gpu=course.on_gpu):
        raise await _short(course)
    course.show(Phase.MEMORY, "another engine that initialises")
    await tools.ledger.init_lock.initialise()
    # Whoever initialised before us may have taken more than its lease.
    await caches.make_room(course, course.gauge.read())
    before = course.gauge.read().room(on_gpu=course.on_gpu)
    if not before.fits(need):
        raise await _short(course)
    course.beside = frozenset(lease.model for lease in await tools.ledger.others())
    activation = upstream.new_activation()
    # A lease that was kept for an engine that is gone has a new one now.
    tools.ledger.describe(
        activation=activation, baseline=before.available, ready_since=None, idle_since=None
    )
    # From here on our death must not free the lease.
    if not await trio.to_thread.run_sync(tools.ledger.secure) and notify.is_supervised():
        words = "systemd does not answer, and would lose the lease at a crash"
        raise EngineFailed("start_failed", words)
    course.show(Phase.CONTAINER)
    await tools.engine.start(activation)


async def _short(course: Course) -> EngineFailed:
    tools = course.tools
    who = await who_has_memory(tools.ledger, tools.engine, course.gauge)
    room = course.gauge.read().room(on_gpu=course.on_gpu)
    return memory.short(tools.model.memory, room, who)


def _judge_footprint(course: Course) -> None:
    if course.served_before:
        return
    course.note_memory(course.gauge.read())
    if course.used is not None:
        words = Footprint(course.tools.model.memory, course.used).sentence
        if words:
            logger.warning("The memory of '%s': %s", course.tools.model.name, words)


async def _wait_ready(course: Course) -> None:
    model, parent = course.tools.model, course.tools.upstream
    activation = course.tools.engine.activation
    assert activation is not None
    course.moved = trio.current_time()
    course.show_progress()
    with trio.move_on_after(model.timeouts.start) as limit:
        await readiness.wait_healthy(parent, activation)
        course.answers = True
        await readiness.check_model(parent, activation, model)
        if model.probe:
            course.show(Phase.WARMUP)
            await readiness.generate_token(parent, activation, model)
    if limit.cancelled_caught:
        raise EngineFailed(
            "start_timeout",
            f"'{model.name}' was not ready in time (see: spark-model logs {model.name})",
        )

"""From a lease that is held to an engine that can generate: adopted, or made.

adopt, or: memory ─ init lock ─ engine ─ readiness ─ ready
"""

from __future__ import annotations

import logging

import trio

from spark_activator import notify
from spark_activator.errors import EngineFailed
from spark_activator.runner import memory, readiness, starts, upstream
from spark_activator.runner.course import Course
from spark_activator.runner.demand import KEPT
from spark_activator.runner.ending import Why
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
    tools.ledger.init_lock.release()
    course.seconds = course.since_start()
    if tools.ledger.lease.baseline is not None:
        course.used = tools.ledger.lease.baseline - memory.read_memory().available
    tools.ledger.describe(LeaseState.READY, in_flight=tools.demand.in_flight)
    course.show(Phase.READY)
    course.ready.set()
    starts.worked(course)


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
    with trio.move_on_after(RETURN_LIMIT):
        while not demand.wanting:
            await demand.wait_change()
    return bool(demand.wanting)


async def _make_engine(course: Course) -> None:
    tools, need = course.tools, course.tools.model.memory
    await tools.clear_others()
    course.show(Phase.MEMORY, f"{need / memory.GIB:.1f} GiB of free memory")
    await memory.wait_free(need)
    course.show(Phase.MEMORY, "another engine that initialises")
    await tools.ledger.take_init_lock()
    # Whoever initialised before us may have taken more than its lease.
    before = memory.check_free(need)
    activation = upstream.new_activation()
    tools.ledger.describe(activation=activation, baseline=before.available)
    # From here on our death must not free the lease.
    if not await trio.to_thread.run_sync(tools.ledger.secure) and notify.is_supervised():
        words = "systemd does not answer, and would lose the lease at a crash"
        raise EngineFailed("start_failed", words)
    course.show(Phase.CONTAINER)
    await tools.engine.start(activation)


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

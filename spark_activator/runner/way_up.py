"""From a lease that is held to an engine that can generate: adopted, or made.

adopt, or: memory ─ init lock ─ engine ─ readiness ─ ready
"""

from __future__ import annotations

import logging

import trio

from spark_activator import notify
from spark_activator.errors import EngineFailed
from spark_activator.runner import memory, readiness, upstream
from spark_activator.runner.course import Course
from spark_activator.runner.ending import Why
from spark_activator.runner.plan import LeaseState
from spark_activator.state import Phase

logger = logging.getLogger(__name__)

# A runner that comes back to a lease without an engine gives its activators
# this long to come back too; they reconnect at once.
RETURN_LIMIT = 2.0


async def bring_up(course: Course) -> None:
    """Return when the engine is ready, or the ending was told meanwhile.

    Raises:
        EngineFailed: It could not be brought up.
    """
    tools = course.tools
    tools.desk.describe(LeaseState.STARTING)
    course.show(Phase.MEMORY, "the engines that are here")
    if not await tools.engine.adopt():
        if course.restored and not await _is_still_wanted(course):
            course.ending.tell(Why.NOBODY)
            return
        await _make_engine(course)
    logger.info("activation %s of the engine", tools.engine.activation)
    tools.desk.describe(activation=tools.engine.activation)
    course.started.set()
    await _wait_ready(course)
    if course.ending.why is not None:
        return  # told in the same moment: nobody must hear that it is ready
    tools.desk.init_lock.release()
    course.seconds = course.since_start()
    if tools.desk.lease.baseline is not None:
        course.used = tools.desk.lease.baseline - memory.read_memory().available
    tools.desk.describe(LeaseState.READY, in_flight=tools.demand.in_flight)
    course.show(Phase.READY)
    course.ready.set()


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
    await tools.desk.take_init_lock()
    # Whoever initialised before us may have taken more than its lease.
    before = memory.check_free(need)
    activation = upstream.new_activation()
    tools.desk.describe(activation=activation, baseline=before.available)
    # From here on our death must not free the lease.
    await trio.to_thread.run_sync(notify.barrier)
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

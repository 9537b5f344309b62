"""Asks the breaker before a start, and tells it afterwards how it went."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time

import trio

from spark_activator import hub
from spark_activator.catalog.frozen import config_hash
from spark_activator.catalog.model import Model
from spark_activator.catalog.repositories import repositories
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner import (
    breaker,
    breaker_file,
    events,
    history,
    machine,
    settings,
)
from spark_activator.runner.breaker import Cause, Failure, Open
from spark_activator.runner.course import Course
from spark_activator.runner.dockerd import Dockerd
from spark_activator.runner.ending import Why
from spark_activator.runner.events import Event
from spark_activator.runner.lease import Ledger
from spark_activator.runner.memory import Gauge

logger = logging.getLogger(__name__)

# These say that an engine could not be started.  The others (Docker is away,
# the GPU is taken, we were told to stop) say nothing of the next start.
FAILED_CODES = ("start_failed", "start_timeout", "memory_short", *breaker.CHEAP_CODES)
# What stands for the image in a fingerprint where there is none.
NO_IMAGE = "-"

_CAUSES = {
    Cause.MEMORY: "the engine ran out of memory, and no more is free than then",
    Cause.SETTINGS: "the engine refuses its settings, and nothing has changed since",
    Cause.IMAGE: "its image is not on this machine",
    Cause.WEIGHTS: "its weights are not on this machine",
}


async def check(layout: Layout, model: Model, ledger: Ledger) -> None:
    """Return when *model* may be started.

    Raises:
        EngineFailed: It may not, or it cannot be known.
    """
    name = model.name
    if breaker_file.is_held(layout, name):
        raise EngineFailed(
            "model_held", f"'{name}' was stopped with --hold (run: spark-model warm {name})"
        )
    record = breaker_file.read(layout, name)
    if record.empty:
        return
    now = time.time()
    gauge = Gauge(layout.proc, settings.load_host(layout))
    reachable = (await trio.to_thread.run_sync(gauge.read)).leased.available
    reachable += await _leased(ledger)
    # The image is asked for only where it could change the answer.
    fingerprint = record.failures[-1].fingerprint
    if breaker.decide(record, now, reachable, fingerprint) is None:
        return
    fingerprint = _fingerprint(layout, model, await _image_id(layout, model))
    refused = breaker.decide(record, now, reachable, fingerprint)
    if refused is not None:
        raise _refusal(layout, model, refused, now)


async def failed(course: Course, failure: EngineFailed) -> None:
    """Record that the start failed, before anybody hears of it: who asks again is counted right."""
    tools, made = course.tools, course.started.is_set()
    # An engine that was adopted had started before, whatever becomes of it now.
    was_ready = course.ready.is_set() or tools.ledger.lease.ready_since is not None
    if was_ready or failure.code not in FAILED_CODES:
        return
    if failure.code == "memory_short" and not made:
        return  # the gate answers for itself, and truly, each time
    layout, model, ledger = tools.layout, tools.model, tools.ledger
    how = course.how if course.ending.why is Why.EXITED else ""
    cause = course.clues.judge(failure.code, how)
    fingerprint = _fingerprint(layout, model, tools.engine.image or NO_IMAGE)
    if cause is Cause.WEIGHTS and "?" in fingerprint:
        cause = Cause.OTHER  # a change could not be seen: time has to do
    enough = 0
    if cause is Cause.MEMORY:
        reachable = ledger.lease.baseline or course.available
        with contextlib.suppress(EngineFailed):  # without the others: less is asked for
            reachable += await _leased(ledger)
        enough = breaker.enough(reachable, model.memory)
    now = time.time()
    entry = Failure(now, cause, failure.code, failure.message, fingerprint, enough)
    record = breaker.after_failure(breaker_file.read(layout, model.name), entry)
    breaker_file.write(layout, model.name, record)
    refused = breaker.decide(record, now, 0, fingerprint)
    if refused is not None:
        line = _refusal(layout, model, refused, now)
        logger.error("breaker open: %s", line.message)
        events.tell(layout, Event.BREAKER_OPEN, model.name, code=line.code, message=line.message)


def worked(course: Course) -> None:
    """Record that the start worked."""
    layout, name = course.tools.layout, course.tools.model.name
    record = breaker_file.read(layout, name)
    after = breaker.after_success(record, time.time())
    if after != record:
        breaker_file.write(layout, name, after)


async def _leased(ledger: Ledger) -> int:
    return sum(lease.memory or 0 for lease in await ledger.others())


async def _image_id(layout: Layout, model: Model) -> str:
    if model.image is None:
        return NO_IMAGE
    try:
        dockerd = Dockerd(settings.load_host(layout).docker_host)
        return (await machine.look_at_image(model, dockerd)).id
    except EngineFailed as failure:
        if failure.code != "image_missing":
            raise
        return NO_IMAGE


def _fingerprint(layout: Layout, model: Model, image: str) -> str:
    return f"{config_hash(model)} {image} {_weights(layout, model)}"


def _weights(layout: Layout, model: Model) -> str:
    """Say what is seen of the weights in each place: when it changed, '-' or '?'."""
    source = model.source.model
    if source.startswith("/"):
        return _changed(source)
    places = hub.places(settings.load_host(layout).hub_caches, layout.hub_cache)
    folders = [hub.folder(name) for name, _ in repositories(model)] or [hub.folder(source)]
    return ",".join(
        _changed(os.path.join(place, folder, "snapshots")) for place in places for folder in folders
    )


def _changed(path: str) -> str:
    try:
        return str(os.stat(path).st_mtime_ns)
    except PermissionError:
        return "?"
    except OSError:
        return "-"


def _refusal(layout: Layout, model: Model, refused: Open, now: float) -> EngineFailed:
    name, last = model.name, refused.failure
    if last.code in breaker.CHEAP_CODES and not refused.of_day:
        # What to do is the same the second time, and so is the code.
        return EngineFailed(last.code, last.message)
    seconds = None if refused.until is None else max(1, math.ceil(refused.until - now))
    words = _CAUSES.get(last.cause, f"{_times(refused.streak)} in a row failed")
    if refused.of_day:
        words = f"{breaker.MOST_A_DAY} starts failed within a day"
    when = "" if seconds is None else f"; another is tried in {_span(seconds)}"
    if last.cause is Cause.OTHER and _worked_before(layout, model, last):
        remedy = f"it used to start: sudo spark-model reset {name} --cache"
    else:
        remedy = f"why: spark-model logs {name}, at once: spark-model reset {name}"
    return EngineFailed(
        "breaker_open", f"'{name}' is not started: {words}{when} ({remedy})", retry_after=seconds
    )


def _worked_before(layout: Layout, model: Model, last: Failure) -> bool:
    if model.image is None:
        return False  # what a process caches is not ours
    config = config_hash(model)
    entries = history.read_last(layout.history(model.name))
    same = [e for e in entries if f"{config} {e.get('image_id')}" == _start_of(last.fingerprint)]
    return history.typical_start(same, config) is not None


def _start_of(fingerprint: str) -> str:
    return " ".join(fingerprint.split()[:2])


def _times(count: int) -> str:
    return "1 start" if count == 1 else f"{count} starts"


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"

"""`spark-model pause` and `resume`: the owner has the GPU, and gives it back."""

from __future__ import annotations

import trio

from spark_activator.cli import tables
from spark_activator.cli.lender import Lender
from spark_activator.errors import EngineFailed, UserError
from spark_activator.layout import Layout
from spark_activator.runner.lending_lines import Done, PauseGpu, ResumeGpu
from spark_activator.runner.refusals import shown
from spark_activator.runner.view import look


def begin(layout: Layout, seconds: float | None) -> int:
    """Have nobody get the GPU for *seconds*, None: until `end`; it does not wait for models to go.

    Raises:
        UserError: It could not be done.
    """
    done = _change(layout, PauseGpu(seconds))
    end = (
        "until 'spark-model resume'" if done.until is None else f"until {tables.clock(done.until)}"
    )
    print(f"paused {end}: nobody gets the GPU")
    leases = trio.run(look, layout).leases
    going = [shown(lease.model) for lease in leases if not lease.foreign]
    staying = [shown(lease.model) for lease in leases if lease.foreign]
    if going:
        print(f"on the way out: {', '.join(going)} (see: spark-model lease show)")
    if staying:
        print(f"not ours to end: {', '.join(staying)}")
    return 0


def end(layout: Layout) -> int:
    """End the pause; without one nothing happens.

    Raises:
        UserError: It could not be done.
    """
    _change(layout, ResumeGpu())
    print("not paused: models start when they are asked for")
    return 0


def _change(layout: Layout, request: PauseGpu | ResumeGpu) -> Done:
    try:
        with Lender(layout) as lender:
            return lender.change_pause(request)
    except EngineFailed as failure:
        raise UserError(failure.message) from failure

"""`spark-model stop NAME [--hold]`: ask the runner to end the engine."""

from __future__ import annotations

import contextlib

from spark_activator.catalog.model import Timeouts
from spark_activator.cli import control, models
from spark_activator.errors import FileProblems, UserError
from spark_activator.layout import Layout
from spark_activator.render.units import RUNNER_MARGIN


def run(layout: Layout, *, name: str, hold: bool = False) -> int:
    """Stop the engine of *name*; its socket goes on listening, and refuses where it is to *hold*.

    Raises:
        UserError: There is no such model, or its runner cannot be asked.
    """
    models.require(layout, name)
    # A connection would start a runner where there is none; a hold needs one.
    if not hold and models.read_state(layout, name) is None:
        print(f"'{name}' is not running")
        return 0
    drain = Timeouts().drain
    # Whoever stops a model with a broken file still wants it stopped.
    with contextlib.suppress(FileProblems):
        drain = models.load(layout, name).timeouts.drain
    answer = control.ask(layout, name, "hold" if hold else "stop", drain + RUNNER_MARGIN)
    if not answer.ok:
        raise UserError(f"{name} was not stopped: {answer.message}")
    print(answer.message or f"{name} is stopped")
    return 0

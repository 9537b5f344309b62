"""`spark-model warm NAME`: start the engine, and return when it is ready."""

from __future__ import annotations

import select
import sys

from spark_activator.cli import control, models
from spark_activator.cli.progress import Progress
from spark_activator.errors import UserError
from spark_activator.layout import Layout

# A person sees no difference to less, and reading a small file costs nothing.
LOOK_EVERY = 0.25


def run(layout: Layout, *, name: str) -> int:
    """Warm *name* and print how far it is.

    Raises:
        UserError: There is no such model, its runner cannot be asked, or it does not start.
        KeyboardInterrupt: Nobody waits any more; the load goes on.
    """
    models.require(layout, name)
    with control.asked(layout, name, "warm") as connection:
        progress = Progress(sys.stdout)
        try:
            while not select.select([connection], [], [], LOOK_EVERY)[0]:
                progress.show(models.read_state(layout, name))
            answer = control.read_answer(connection, name, "warm")
        except KeyboardInterrupt:
            progress.end()
            print(f"'{name}' goes on loading; to end it: spark-model stop {name}", file=sys.stderr)
            raise
        finally:
            progress.end()
    if not answer.ok:
        raise UserError(answer.message)
    print(answer.message)
    return 0

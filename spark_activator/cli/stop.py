"""`spark-model stop NAME`: ask the runner, by its control connection, to end the engine."""

from __future__ import annotations

import contextlib
import socket

from spark_activator.catalog.model import Timeouts
from spark_activator.cli import models
from spark_activator.errors import FileProblems, UserError
from spark_activator.layout import Layout
from spark_activator.protocol import MAX_LINE, Control, Hello, decode_answer, encode
from spark_activator.render.units import RUNNER_MARGIN


def run(layout: Layout, *, name: str) -> int:
    """Stop the engine of *name*; its socket goes on listening.

    Raises:
        UserError: There is no such model, or its runner cannot be asked.
    """
    models.require(layout, name)
    # A connection would start a runner where there is none.
    if models.read_state(layout, name) is None:
        print(f"'{name}' is not running")
        return 0
    drain = Timeouts().drain
    # Whoever stops a model with a broken file still wants it stopped.
    with contextlib.suppress(FileProblems):
        drain = models.load(layout, name).timeouts.drain
    answer = decode_answer(_ask(layout, name, drain + RUNNER_MARGIN))
    if not answer.ok:
        raise UserError(f"{name} was not stopped: {answer.message}")
    print(answer.message or f"{name} is stopped")
    return 0


def _ask(layout: Layout, name: str, deadline: float) -> bytes:
    path = layout.runner_socket(name)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(deadline)
        try:
            connection.connect(str(path))
            connection.sendall(encode(Hello("control")) + encode(Control("stop")))
            with connection.makefile("rb") as lines:
                line = lines.readline(MAX_LINE + 1)
        except PermissionError as error:
            raise UserError(
                f"may not ask the runner of '{name}'",
                hint="members of the group spark-activator may, or use sudo",
            ) from error
        except TimeoutError as error:
            raise UserError(
                f"the runner of '{name}' did not stop it within {deadline:g} s",
                hint=f"see: spark-model logs {name}",
            ) from error
        except OSError as error:
            raise UserError(f"cannot ask the runner of '{name}': {error.strerror}") from error
    if not line.endswith(b"\n"):
        raise UserError(
            f"the runner of '{name}' ended without an answer", hint=f"see: spark-model logs {name}"
        )
    return line

"""The command line's side of a runner's control connection.

Connecting starts a runner where there is none: systemd listens for it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from spark_activator.errors import UserError
from spark_activator.layout import Layout
from spark_activator.protocol import MAX_LINE, Answer, Control, Hello
from spark_activator.protocol_json import decode_answer, encode

Command = Literal["warm", "stop", "hold", "reset"]


def ask(layout: Layout, name: str, command: Command, deadline: float) -> Answer:
    """Have the runner of *name* carry out *command* within *deadline* seconds.

    Raises:
        UserError: It cannot be asked, or does not answer.
    """
    with asked(layout, name, command) as connection:
        connection.settimeout(deadline)
        return read_answer(connection, name, command, deadline)


@contextmanager
def asked(layout: Layout, name: str, command: Command) -> Iterator[socket.socket]:
    """Connect to the runner of *name* and say *command*; the answer is still to come.

    Raises:
        UserError: It cannot be asked.
    """
    path = layout.runner_socket(name)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(encode(Hello("control")) + encode(Control(command)))
        except PermissionError as error:
            raise UserError(
                f"may not ask the runner of '{name}'",
                hint="members of the group spark-activator may, or use sudo",
            ) from error
        except OSError as error:
            raise UserError(
                f"cannot ask the runner of '{name}': {error.strerror}",
                hint=f"is it switched on? sudo spark-model enable {name}",
            ) from error
        yield connection


def read_answer(
    connection: socket.socket, name: str, command: Command, deadline: float | None = None
) -> Answer:
    """Read the one answer.

    Raises:
        UserError: There is none within *deadline* seconds.
    """
    try:
        with connection.makefile("rb") as lines:
            line = lines.readline(MAX_LINE + 1)
    except TimeoutError as error:
        raise UserError(
            f"the runner of '{name}' did not answer '{command}' within {deadline:g} s",
            hint=f"see: spark-model logs {name}",
        ) from error
    except OSError as error:
        raise UserError(f"cannot ask the runner of '{name}': {error.strerror}") from error
    if not line.endswith(b"\n"):
        raise UserError(
            f"the runner of '{name}' ended without an answer", hint=f"see: spark-model logs {name}"
        )
    return decode_answer(line)

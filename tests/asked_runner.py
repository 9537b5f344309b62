"""Somebody who answers the command line where a runner would."""

import socket
import threading
from contextlib import contextmanager

from spark_activator.protocol_json import decode_control, decode_hello
from spark_activator.state import Phase, State


@contextmanager
def runner(machine, name, answer):
    """Listen where the runner does, and answer one connection; yields what was asked."""
    path = machine.layout.runner_socket(name)
    path.parent.mkdir()
    asked = []

    def serve():
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            asked.extend((decode_hello(lines.readline()), decode_control(lines.readline())))
            if answer:
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        thread.join(60)


def running(machine, name):
    machine.freeze(name)
    path = machine.layout.state_file(name)
    path.parent.mkdir()
    path.write_text(State(name, Phase.READY, 1.0).to_json())

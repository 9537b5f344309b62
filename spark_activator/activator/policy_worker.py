"""The policy in a process of its own, for bodies that are large.

Python's json and regular expressions hold the interpreter's lock for the whole of
a body, 200 ms for 20 MB: in the activator, even in a thread, every stream would stand still.
`python -m spark_activator.activator.policy_worker` is started by
`policy_process`, with a socket as its standard input.  The first message brings
the frozen model, each further one a body; it ends with the socket.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Final

from spark_activator.activator import memfd, policy_lines
from spark_activator.catalog import frozen
from spark_activator.catalog.model import Model
from spark_activator.errors import Refusal
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.apply import decide, reclamp
from spark_activator.http.policy.decision import Decision

# The largest body is 64 MiB; as text with one emoji in it, read and written
# anew, it is a GiB.
MEMORY: Final = 2 << 30
# More than the activator waits for an answer: this is for one that died.
LIFE_LIMIT: Final = 60


def main() -> int:
    """Decide about one body after the other."""
    # A stop reaches all processes of a service at once, and the activator drains.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _confine()
    with socket.socket(fileno=0) as activator:
        _, model_file = _receive(activator)
        model = frozen.load(memfd.content(model_file).decode())
        os.close(model_file)
        while True:
            line, body_file = _receive(activator)
            if not line:
                return 0
            signal.alarm(LIFE_LIMIT)
            body = memfd.content(body_file)
            os.close(body_file)
            answer, changed = _answer(line, body, model)
            _send(activator, answer, changed)
            signal.alarm(0)


def _confine() -> None:
    # Where memory is short, one request's worker is the cheapest thing to lose.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as adjustment:
        adjustment.write("1000")
    # A sandbox may forbid it.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _receive(activator: socket.socket) -> tuple[bytes, int]:
    line, files, _, _ = socket.recv_fds(activator, policy_lines.MAX_LINE, 1)
    return line, files[0] if files else -1


def _answer(line: bytes, body: bytes, model: Model) -> tuple[bytes, bytes | None]:
    """Return the answer, and the body where it changed."""
    try:
        decision = _decide(line, body, model)
    except Refusal as refusal:
        return policy_lines.answer_refusal(refusal), None
    except MemoryError:
        message = "the request's JSON takes more memory than there is for it"
        return policy_lines.answer_refusal(Refusal("body_too_large", message)), None
    except Exception:  # noqa: BLE001  # one request's bug must not cost the others their worker
        _complain()
        return policy_lines.answer_refusal(Refusal("internal_error", "internal error")), None
    changed = None if decision.body is body else decision.body
    return policy_lines.answer_decision(decision), changed


def _complain() -> None:
    # The level, as journald reads it; see sd-daemon(3).
    lines = traceback.format_exc().splitlines(keepends=True)
    sys.stderr.write("".join(f"<3>{line}" for line in lines))
    sys.stderr.flush()


def _decide(line: bytes, body: bytes, model: Model) -> Decision:
    question = policy_lines.asked(line, body)
    if isinstance(question, Endpoint):
        return decide(body, question, model)
    decision, counted = question
    return reclamp(decision, counted, model)


def _send(activator: socket.socket, answer: bytes, body: bytes | None) -> None:
    if body is None:
        activator.sendall(answer)
        return
    changed = memfd.create(body)
    socket.send_fds(activator, [answer], [changed])
    os.close(changed)


if __name__ == "__main__":
    sys.exit(main())

"""The lines between a runner and the supervisor of its process engine.

One JSON object a line.  The runner's first line is an order::

    {"run": {"command": ["…"], "env": {}, "directory": "/…", "activation": "0a1b2c3d",
             "config": "…", "grace": 20.0}}
    {"adopt": true}

and is answered by `started`, by `running` where an engine is there already
(it belongs to this connection from now on, and its last lines follow, marked
`past`), or by `none`.  Later the runner may send ``{"stop": {"grace": 20.0}}``.
`log` lines come as the engine prints them; `exited` is the last line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from spark_activator.errors import SparkError

# A command with its environment is a few KiB; a pasted chat template can be more.
MAX_ORDER = 262144

# systemd kills us after 90 s (TimeoutStopSec=): an engine that needs longer than
# this to end is killed before.
MAX_GRACE = 75.0


class BadOrder(SparkError):
    """The runner sent a line that is no order; its connection ends."""


@dataclass(frozen=True, slots=True)
class Run:
    """Start this engine.

    Attributes:
        command: Its program and arguments; `{socket}` and `{python}` are replaced.
        env: Added to a clean environment.
        directory: Where it runs and makes its socket.
        activation: Eight hex digits.
        config: The hash of the frozen model.
        grace: Seconds between SIGTERM and SIGKILL, unless a stop says another.
    """

    command: tuple[str, ...]
    env: dict[str, str]
    directory: str
    activation: str
    config: str
    grace: float


@dataclass(frozen=True, slots=True)
class Adopt:
    """Hand over what runs; start nothing."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the engine: SIGTERM, and SIGKILL after *grace* seconds."""

    grace: float


def read_first(line: bytes) -> Run | Adopt:
    """Read the first line of a connection.

    Raises:
        BadOrder: It is none.
    """
    body = _object(line)
    if body.get("adopt") is True:
        return Adopt()
    run = body.get("run")
    if not isinstance(run, dict):
        raise BadOrder("expected 'run' or 'adopt'")
    command, env = run.get("command"), run.get("env", {})
    if not isinstance(command, list) or not command or not _all_text(command):
        raise BadOrder("run: command: expected a list of strings")
    if not isinstance(env, dict) or not _all_text(list(env.values()) + list(env)):
        raise BadOrder("run: env: expected an object of strings")
    if any("=" in key or not key for key in env):
        raise BadOrder("run: env: expected names without '='")
    texts = {key: run.get(key) for key in ("directory", "activation", "config")}
    if not _all_text(list(texts.values())) or not str(texts["directory"]).startswith("/"):
        raise BadOrder("run: expected directory (absolute), activation and config")
    return Run(
        command=tuple(command),
        env=dict(env),
        grace=_grace(run),
        **{key: str(value) for key, value in texts.items()},
    )


def read_next(line: bytes) -> Stop:
    """Read a later line.

    Raises:
        BadOrder: It is no stop.
    """
    stop = _object(line).get("stop")
    if not isinstance(stop, dict):
        raise BadOrder("expected 'stop'")
    return Stop(_grace(stop))


def event(name: str, **values: object) -> bytes:
    """Write what happened as one line."""
    body = {"event": name, **values}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadOrder(f"expected a JSON object, got {line[:80]!r}") from error
    if not isinstance(body, dict):
        raise BadOrder(f"expected a JSON object, got {line[:80]!r}")
    return body


def _all_text(values: list[object]) -> bool:
    # exec takes no NUL.
    return all(isinstance(value, str) and "\0" not in value for value in values)


def _grace(body: dict[str, Any]) -> float:
    grace = body.get("grace", 20.0)
    if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not grace >= 0:
        raise BadOrder(f"grace: expected seconds, got {grace!r}")
    return min(float(grace), MAX_GRACE)

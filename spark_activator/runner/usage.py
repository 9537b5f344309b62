"""What each API key has had of a model: counts on disk, which outlive the processes.

Activators count and tell (`protocol.Busy`); the runner, which may write, adds.
One runner of a model runs at a time, so nothing is locked.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from spark_activator.protocol import Usage
from spark_activator.runner.lock import write_text

logger = logging.getLogger(__name__)

# An activator that went wrong could name without end; nobody has so many keys.
MOST_KEYS: Final = 1000


@dataclass(frozen=True, slots=True)
class Used:
    """What one key has had.

    Attributes:
        requests: Those that an engine answered.
        input: Tokens of prompts, as far as engines told.
        output: Tokens of answers; where an engine did not tell, pieces of its stream.
        last: When, in seconds of the clock on the wall; 0: never.
    """

    requests: int = 0
    input: int = 0
    output: int = 0
    last: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.requests + other.requests,
            self.input + other.input,
            self.output + other.output,
            max(self.last, other.last),
        )


def add(file: Path, usage: Usage) -> None:
    """Add *usage* to what *file* says; never fatal."""
    now = int(time.time())
    known = read(file)
    for name, (requests, sent, got) in usage.items():
        if name in known or len(known) < MOST_KEYS:
            known[name] = known.get(name, Used()) + Used(requests, sent, got, now)
    body = {"keys": {name: asdict(used) for name, used in sorted(known.items())}}
    try:
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        # Not synced: a power cut may cost some seconds of it, a crash of ours nothing.
        write_text(file, json.dumps(body) + "\n")
    except OSError as error:
        logger.warning("Failed to record what API keys have used, ignoring: %s", error)


def read(file: Path) -> dict[str, Used]:
    """Read what is known, by the names of keys; nothing where it cannot be read."""
    try:
        return _parse(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("Cannot read '%s', counting from 0: %s", file, error)
        return {}


def read_all(directory: Path) -> dict[str, Used]:
    """Add up all models' files in *directory*."""
    total: dict[str, Used] = {}
    for file in sorted(directory.glob("*.json")):
        for name, used in read(file).items():
            total[name] = total.get(name, Used()) + used
    return total


def _parse(body: Any) -> dict[str, Used]:  # noqa: ANN401  # whatever JSON can say
    try:
        return {
            name: Used(**{key: int(entry[key]) for key in ("requests", "input", "output", "last")})
            for name, entry in body["keys"].items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not what we write ({error!r})") from error

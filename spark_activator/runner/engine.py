"""What every engine has in common, be it a container or a process.

An engine outlives the runner: a runner that comes back adopts it.  So nothing
here ends an engine because we end; only `stop` does.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

# What the journal gets of an engine that died: the traceback's end.
LAST_LINES = 20


class Engine(Protocol):
    """One model's engine.

    Attributes:
        activation: Its name, None while there is none.
        may_exist: Whether something of it can be there, as far as we know.
    """

    activation: str | None
    may_exist: bool

    async def adopt(self) -> bool:
        """Take over the one that runs with our configuration, and remove any other of ours.

        Raises:
            EngineFailed: It cannot be seen what is there.
        """
        ...

    async def start(self, activation: str) -> None:
        """Make a new one.

        Raises:
            EngineFailed: It cannot be made; `stop` has to be called all the same.
        """
        ...

    async def follow(self, on_line: Callable[[str], None]) -> str:
        """Report each line that it logs, and return how it ended once it has."""
        ...

    async def effort(self) -> float | None:
        """Return a number that grows while it works (CPU seconds), None where unknown."""
        ...

    async def containers(self) -> frozenset[str]:
        """Return the ids of all containers of this installation, none where it has none.

        Raises:
            EngineFailed: It cannot be seen which there are.
        """
        ...

    async def kill(self) -> None:
        """End it at once, without its grace; `stop` has to be called all the same.

        Raises:
            EngineFailed: It could not be told to.
        """
        ...

    async def stop(self) -> None:
        """End it, with its grace; on return nothing of it is left.

        Raises:
            EngineFailed: It cannot be known yet; ask again.
        """
        ...


class LastLines:
    """Keeps the end of an engine's log, to say why it ended."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LAST_LINES)

    def add(self, line: str) -> None:
        """Take in one line."""
        self._lines.append(line)

    def log(self, how: str) -> None:
        """Write them to our journal, under *how* the engine ended."""
        logger.error("The engine %s; its last lines:", how)
        for line in self._lines:
            logger.error("engine: %s", line)

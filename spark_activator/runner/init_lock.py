"""One engine initialises at a time: two that do mis-measure memory.

What goes on purpose takes the same lock, since what it gives back would be
mis-measured too.
"""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from spark_activator.facts import fact
from spark_activator.runner.gpu_files import unwritable
from spark_activator.runner.lock import Lock

logger = logging.getLogger(__name__)

# An engine initialises for minutes; a quarter of a second is no part of that.
INIT_POLL = 0.25


class InitLock(Lock):
    """`init.lock` in *directory*."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "init.lock", stored_as="init")
        self._directory = directory

    def try_take(self) -> bool:
        """Take it, and leave it with systemd, if nobody initialises; True when it is ours then.

        Raises:
            EngineFailed: The directory cannot be used.
        """
        try:
            taken = self.take_nowait()
        except OSError as error:
            raise unwritable(self._directory, error) from error
        if taken:
            self.store()
        return taken

    async def take(self) -> None:
        """Wait until it is ours.

        Raises:
            EngineFailed: The directory cannot be used.
        """
        while not self.try_take():  # noqa: ASYNC110  # a lock has no event
            await trio.sleep(INIT_POLL)

    async def initialise(self) -> None:
        """Wait until it is ours, for an engine that is about to take its memory.

        Raises:
            EngineFailed: The directory cannot be used.
        """
        await self.take()
        self.say_initialises()

    def initialised(self) -> None:
        """Free it: the engine has its memory."""
        if self.held:
            logger.info("%s", fact("initialised"))
        self.release()

    @staticmethod
    def say_initialises() -> None:
        """Say so in the journal."""
        logger.info("%s", fact("initialises"))

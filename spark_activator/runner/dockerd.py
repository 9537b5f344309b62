"""Docker's calls: each in a thread, each with a deadline, each error translated here.

The SDK takes about 100 ms to import, so that happens in the first call's thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from spark_activator.errors import EngineFailed
from spark_activator.runner.lines import LogLines

if TYPE_CHECKING:
    import docker

logger = logging.getLogger(__name__)
T = TypeVar("T")

# One that is not there refuses at once.  One whose socket has just started it takes
# seconds, and so does the SDK's import on a machine with other work: 3 s were too few.
PING_LIMIT = 20.0
# Looking at containers and removing them takes milliseconds, and seconds on a
# machine that reads 60 GB of weights at the same time.
CALL_LIMIT = 10.0
# Making and starting includes mounts, devices and cgroups.
START_LIMIT = 60.0

# What is read again of a log after adoption: enough for the phase it is in.
LOG_TAIL = 1000

# The two that wait for an engine (its log, its end), and one for each call
# that a cancelled wait may have left behind.
THREADS = trio.CapacityLimiter(8)


class Missing(Exception):
    """There is no such container or image; the caller knows what that means."""


class Refused(EngineFailed):
    """Docker says no; *status* is that of its answer."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(
            "start_failed", f"Docker failed to {what} (see: journalctl -t spark-runner)"
        )
        self.status = status


class Dockerd:
    """One connection pool to Docker, made by the first call.

    Args:
        address: Path of its socket; None is Docker's own default.
    """

    def __init__(self, address: str | None = None) -> None:
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        self._address = f"unix://{address}" if address else host
        self._api: docker.APIClient | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is a socket at all; asking does not start Docker."""
        return os.path.exists(self._address.removeprefix("unix://"))

    async def ping(self) -> None:
        """Return when Docker answers.

        Raises:
            EngineFailed: It does not.
        """
        await self.call("answer", lambda api: api.ping(), limit=PING_LIMIT)

    async def call(
        self, what: str, act: Callable[[docker.APIClient], T], *, limit: float = CALL_LIMIT
    ) -> T:
        """Run *act* in a thread; *what* completes 'Docker failed to …'.

        Raises:
            Missing: There is no such thing.
            EngineFailed: Docker does not answer, or refuses.
        """
        with trio.move_on_after(limit):
            return await self._in_thread(lambda: _translated(what, lambda: act(self._connected())))
        logger.warning("Docker failed to %s within %g s", what, limit)
        raise unavailable()

    async def follow(
        self, container: str, on_piece: Callable[[bytes], None], *, since: float | None
    ) -> None:
        """Call *on_piece* in this loop with each piece of the container's log, until it ends.

        *since* is a wall-clock time before which nothing is read again.

        Raises:
            Missing: There is no such container.
            EngineFailed: Docker does not answer.
        """

        def read() -> None:
            stream = _translated(
                "read the log",
                lambda: self._connected().logs(
                    container, stream=True, follow=True, tail=LOG_TAIL, since=since
                ),
            )
            try:
                for piece in stream:
                    trio.from_thread.run_sync(on_piece, piece)
            except trio.Cancelled:
                stream.close()
                raise
            except Exception as error:  # noqa: BLE001  # the SDK raises what its libraries do
                logger.debug("The log of %s ended, ignoring: %s", container, error)

        await self._in_thread(read)

    async def last_lines(self, container: str, count: int) -> list[str]:
        """Return the end of the container's log.

        Raises:
            Missing: There is no such container.
            EngineFailed: Docker does not answer.
        """
        data = await self.call("read the log", lambda api: api.logs(container, tail=count))
        lines = LogLines()
        return [*lines.feed(data), *lines.end()][-count:]

    async def wait(self, container: str) -> int:
        """Wait for the end of *container* and return its exit status.

        Raises:
            Missing: There is no such container.
            EngineFailed: Docker does not answer, or has gone away.
        """
        # No limit: it ends when the container does, or with Docker.
        result = await self._in_thread(
            lambda: _translated(
                "wait for the engine", lambda: self._connected().wait(container, timeout=None)
            )
        )
        return int(result.get("StatusCode", -1))

    async def _in_thread(self, act: Callable[[], T]) -> T:
        # Left behind when cancelled: it ends by the SDK's own timeout, or with
        # the container whose log or end it waits for.
        return await trio.to_thread.run_sync(act, abandon_on_cancel=True, limiter=THREADS)

    def _connected(self) -> docker.APIClient:
        if self._api is None:
            import docker

            # Without a version it asks Docker for one that both speak.
            self._api = docker.APIClient(base_url=self._address, timeout=int(START_LIMIT))
        return self._api


def unavailable() -> EngineFailed:
    """Say that Docker is not there."""
    return EngineFailed(
        "docker_unavailable", "Docker does not answer on this machine (run: systemctl start docker)"
    )


def _translated(what: str, act: Callable[[], T]) -> T:
    import requests
    from docker import errors

    try:
        return act()
    except errors.NotFound as error:
        raise Missing(str(error.explanation)) from error
    except errors.APIError as error:
        logger.error("Docker failed to %s: %s", what, error.explanation or error)
        raise Refused(what, error.status_code or 0) from error
    except (requests.exceptions.RequestException, errors.DockerException, OSError) as error:
        logger.warning("Docker failed to %s: %s", what, error)
        raise unavailable() from error

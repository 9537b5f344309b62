"""An engine that is a Docker container of ours."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Model
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner import machine, spec, upstream
from spark_activator.runner.clues import OUT_OF_MEMORY, exited
from spark_activator.runner.dockerd import START_LIMIT, Dockerd, Missing, Refused
from spark_activator.runner.engine import LAST_LINES
from spark_activator.runner.lines import LogLines, not_heard
from spark_activator.runner.ours import ASK_AGAIN, Found, find_all, remove

if TYPE_CHECKING:
    import docker

# The last words of an engine that has ended are read within milliseconds, and
# megabytes of them on a busy machine within two seconds.
LAST_WORDS_LIMIT = 3.0
# A Docker that lists containers makes one in less, whatever held it up before.
LATE_LIMIT = 2.0
# HTTP's word for a name that is taken.
CONFLICT = 409
# What tini says as Docker's init; the container itself has started by then.
NO_SHELL = "exec /bin/sh failed"


class ContainerEngine:
    """The container of *model*; see `engine.Engine`."""

    def __init__(
        self, model: Model, config: str, *, layout: Layout, host: HostSettings, dockerd: Dockerd
    ) -> None:
        self.activation: str | None = None
        self.may_exist = False
        self.image: str | None = None
        self._model = model
        self._config = config
        self._layout = layout
        self._host = host
        self._dockerd = dockerd
        self._id = ""
        self._uncertain = False

    async def adopt(self) -> bool:
        """See `engine.Engine.adopt`."""
        await self._dockerd.ping()
        ours = [
            f for f in await find_all(self._dockerd, self._layout) if f.model == self._model.name
        ]
        self.may_exist = bool(ours)
        fit = [found for found in ours if self._fits(found)]
        if len(ours) == 1 and fit:
            self._id, self.activation = fit[0].id, fit[0].activation
            return True
        # More than one is nothing that we made; none of them is trusted.
        await remove(self._dockerd, self._layout, self._model.name)
        upstream.remove_all(self._parent)
        self.may_exist = False
        return False

    async def start(self, activation: str) -> None:
        """See `engine.Engine.start`."""
        model = self._model
        image = await machine.look_at_image(model, self._dockerd)
        self.image = image.id
        place = await machine.prepare(
            model,
            image,
            activation,
            layout=self._layout,
            host=self._host,
            dockerd=self._dockerd,
        )
        body = spec.container(model, image, place, config=self._config, activation=activation)
        self.may_exist = True
        # Whoever cancels us must know what was made.
        with trio.CancelScope(shield=True):
            await self._create(body, spec.container_name(self._model.name))
            await self._start()
        self.activation = activation

    async def _create(self, body: dict[str, Any], name: str) -> None:
        def create(api: docker.APIClient) -> str:
            made = api.create_container_from_config(body, name)  # type: ignore[no-untyped-call]  # docker has no types
            return str(made["Id"])

        self._uncertain = True
        try:
            self._id = await self._dockerd.call("make the container", create, limit=START_LIMIT)
        except Missing as error:
            raise machine.image_missing(self._model) from error
        except Refused as error:
            self._uncertain = False
            if error.status != CONFLICT:
                raise
            raise EngineFailed(
                "start_failed",
                f"a container '{name}' that is not ours is in the way (run: docker rm -f {name})",
            ) from error
        self._uncertain = False

    async def _start(self) -> None:
        # A call of its own: a thread that was given up must not go on to start
        # an engine that nobody holds a lease for.
        try:
            await self._dockerd.call(
                "start the container", lambda api: api.start(self._id), limit=START_LIMIT
            )
        except Missing as error:
            words = f"the container of '{self._model.name}' was removed before it started"
            raise EngineFailed("start_failed", words) from error

    async def follow(self, on_line: Callable[[str], None]) -> str:
        """See `engine.Engine.follow`."""
        read = trio.Event()
        no_shell = False

        def hear(line: str) -> None:
            nonlocal no_shell
            no_shell = no_shell or NO_SHELL in line
            on_line(line)

        async def read_log() -> None:
            await self._read_log(hear)
            read.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_log)
            how = await self._ended()
            with trio.move_on_after(LAST_WORDS_LIMIT):
                await read.wait()
            nursery.cancel_scope.cancel()
        return "cannot start: its image has no /bin/sh" if no_shell else how

    async def effort(self) -> float | None:
        """See `engine.Engine.effort`: the CPU seconds of all its processes."""
        try:
            stats = await self._dockerd.call(
                "measure the engine", lambda api: api.stats(self._id, stream=False, one_shot=True)
            )
            return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9
        except (EngineFailed, Missing, KeyError, TypeError):
            return None

    async def containers(self) -> frozenset[str]:
        """See `engine.Engine.containers`."""
        return frozenset(found.id for found in await find_all(self._dockerd, self._layout))

    async def kill(self) -> None:
        """See `engine.Engine.kill`: with its first process goes all that is in it."""
        try:
            await self._dockerd.call("kill the engine", lambda api: api.kill(self._id, "SIGKILL"))
        except (Missing, Refused):
            return  # it is gone, or has just ended

    async def stop(self) -> None:
        """See `engine.Engine.stop`."""
        if self.may_exist:
            await remove(self._dockerd, self._layout, self._model.name)
        if self._uncertain:
            # It was asked for one and did not answer in time: it may come late.
            await trio.sleep(LATE_LIMIT)
            await remove(self._dockerd, self._layout, self._model.name)
        self.may_exist = self._uncertain = False

    @property
    def _parent(self) -> Path:
        return self._layout.upstream(self._model.name)

    def _fits(self, found: Found) -> bool:
        return (
            found.running
            and found.config == self._config
            and upstream.exists(self._parent, found.activation)
        )

    async def _read_log(self, on_line: Callable[[str], None]) -> None:
        lines = LogLines()
        heard: deque[str] = deque(maxlen=LAST_LINES)

        def tell(news: Iterable[str]) -> None:
            for line in news:
                heard.append(line)
                on_line(line)

        def hear(piece: bytes) -> None:
            tell(lines.feed(piece))

        since: float | None = None
        while True:
            try:
                await self._dockerd.follow(self._id, hear, since=since)
            except Missing:
                return
            except EngineFailed:
                pass
            tell(lines.end())
            # It ends with the container, or with a Docker that restarts.
            since = time.time()
            if not await self._is_running():
                # Docker may end it before its end was sent.
                with suppress(Missing, EngineFailed):
                    end = await self._dockerd.last_lines(self._id, LAST_LINES)
                    tell(not_heard(list(heard), end))
                return
            await trio.sleep(ASK_AGAIN)

    async def _ended(self) -> str:
        while True:
            try:
                status = await self._dockerd.wait(self._id)
                state = await self._state()
                if state.get("OOMKilled"):
                    return OUT_OF_MEMORY
                return exited(status)
            except Missing:
                return "is gone: its container was removed"
            except EngineFailed:
                # Docker is away; the engine is too, unless live-restore keeps it.
                assert self.activation is not None
                if not await upstream.listens(self._parent, self.activation):
                    return "ended together with Docker"
                await trio.sleep(ASK_AGAIN)

    async def _state(self) -> dict[str, Any]:
        details = await self._dockerd.call(
            "look at the engine", lambda api: api.inspect_container(self._id)
        )
        return dict(details.get("State") or {})

    async def _is_running(self) -> bool:
        try:
            return bool((await self._state()).get("Running"))
        except Missing:
            return False
        except EngineFailed:
            return True

"""An engine that is a Docker container of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Model
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner import machine, spec, upstream
from spark_activator.runner.dockerd import START_LIMIT, Dockerd, Missing
from spark_activator.runner.ours import ASK_AGAIN, Found, find_all, remove

if TYPE_CHECKING:
    import docker

# The last words of an engine that has ended are read within milliseconds.
LAST_WORDS_LIMIT = 1.0


class ContainerEngine:
    """The container of *model*; see `engine.Engine`."""

    def __init__(
        self, model: Model, config: str, *, layout: Layout, host: HostSettings, dockerd: Dockerd
    ) -> None:
        self.activation: str | None = None
        self.may_exist = False
        self._model = model
        self._config = config
        self._layout = layout
        self._host = host
        self._dockerd = dockerd
        self._id = ""

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
        upstream.remove_all(self._layout.upstream(self._model.name))
        self.may_exist = False
        return False

    async def start(self, activation: str) -> None:
        """See `engine.Engine.start`."""
        name, model = spec.container_name(self._model.name), self._model
        image = await self._image()
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

        def make(api: docker.APIClient) -> str:
            made = api.create_container_from_config(body, name)  # type: ignore[no-untyped-call]
            api.start(made["Id"])
            return str(made["Id"])

        try:
            self._id = await self._dockerd.uninterrupted(
                "start the container", make, limit=START_LIMIT
            )
        except Missing as error:
            raise self._image_missing() from error
        self.activation = activation

    async def follow(self, on_line: Callable[[str], None]) -> str:
        """See `engine.Engine.follow`."""
        read = trio.Event()

        async def read_log() -> None:
            await self._read_log(on_line)
            read.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_log)
            how = await self._ended()
            with trio.move_on_after(LAST_WORDS_LIMIT):
                await read.wait()
            nursery.cancel_scope.cancel()
        return how

    async def effort(self) -> float | None:
        """See `engine.Engine.effort`: the CPU seconds of all its processes."""
        try:
            stats = await self._dockerd.call(
                "measure the engine", lambda api: api.stats(self._id, stream=False, one_shot=True)
            )
            return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9
        except (EngineFailed, Missing, KeyError, TypeError):
            return None

    async def stop(self) -> None:
        """See `engine.Engine.stop`."""
        if self.may_exist:
            await remove(self._dockerd, self._layout, self._model.name)
        self.may_exist = False

    def _fits(self, found: Found) -> bool:
        parent = self._layout.upstream(self._model.name)
        return (
            found.running
            and found.config == self._config
            and upstream.exists(parent, found.activation)
        )

    async def _read_log(self, on_line: Callable[[str], None]) -> None:
        rest = b""

        def hear(piece: bytes) -> None:
            nonlocal rest
            # Progress bars rewrite their line; each version of it is news.
            *lines, rest = (rest + piece).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                if line.strip():
                    on_line(line.decode("utf-8", "replace"))

        since: float | None = None
        while True:
            try:
                await self._dockerd.follow(self._id, hear, since=since)
            except Missing:
                return
            except EngineFailed:
                pass
            # It ends with the container, or with a Docker that restarts.
            since = time.time()
            if not await self._is_running():
                return
            await trio.sleep(ASK_AGAIN)

    async def _ended(self) -> str:
        while True:
            try:
                status = await self._dockerd.wait(self._id)
                state = await self._state()
                if state.get("OOMKilled"):
                    return "was killed because the host ran out of memory"
                return f"exited with status {status}"
            except Missing:
                return "is gone: its container was removed"
            except EngineFailed:
                # Docker is away; the engine is too, unless live-restore keeps it.
                if not await self._listens():
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

    async def _listens(self) -> bool:
        assert self.activation is not None
        try:
            stream = await upstream.connect(
                self._layout.upstream(self._model.name), self.activation
            )
        except OSError:
            return False
        await stream.aclose()
        return True

    async def _image(self) -> spec.ImageFacts:
        assert self._model.image is not None
        wanted = self._model.image.pull_spec
        try:
            image = await self._dockerd.call(
                "look at the image",
                lambda api: api.inspect_image(wanted),  # type: ignore[no-untyped-call]
            )
        except Missing as error:
            raise self._image_missing() from error
        config = image.get("Config") or {}
        return spec.ImageFacts(
            str(image["Id"]), tuple(config.get("Entrypoint") or ()), tuple(config.get("Cmd") or ())
        )

    def _image_missing(self) -> EngineFailed:
        assert self._model.image is not None
        return EngineFailed(
            "image_missing",
            f"the image of '{self._model.name}' is not on this machine "
            f"(build it, or run: docker pull {self._model.image.pull_spec})",
        )

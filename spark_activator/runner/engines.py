"""Which engine a model has, and engines that are left over."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from spark_activator.catalog.model import Engine as EngineKind
from spark_activator.catalog.model import Model
from spark_activator.layout import Layout
from spark_activator.runner import settings, upstream
from spark_activator.runner.container import ContainerEngine
from spark_activator.runner.dockerd import Dockerd
from spark_activator.runner.engine import Engine
from spark_activator.runner.ours import find_all, remove
from spark_activator.runner.process import ProcessEngine
from spark_activator.runner.reaper import reap

logger = logging.getLogger(__name__)


class Engines:
    """Makes the engine of the model *name*."""

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self._name = name

    def make(self, model: Model, config: str) -> tuple[Engine, Callable[[], Awaitable[None]]]:
        """Return the engine of *model*, and what removes those of runners that are gone.

        A process engine needs no Docker, so nothing is asked of it: asking would
        start it.  What a lost container keeps from it, the memory gate sees.
        """
        if model.engine is EngineKind.PROCESS:
            engine = ProcessEngine(self._name, model, config, layout=self._layout)
            return engine, trio.lowlevel.checkpoint
        host = settings.load_host(self._layout)
        dockerd = Dockerd(host.docker_host)

        async def clear_others() -> None:
            others = {found.model for found in await find_all(dockerd, self._layout)}
            for other in others - {self._name}:
                if await reap(self._layout, dockerd, other):
                    logger.warning("removed what was left of '%s'", other)

        return (
            ContainerEngine(model, config, layout=self._layout, host=host, dockerd=dockerd),
            clear_others,
        )

    async def end_any(self) -> None:
        """End an engine of *name*, of whatever kind, without knowing its model.

        Raises:
            EngineFailed: It cannot be known yet; ask again.
        """
        if self._layout.engine_socket(self._name).exists():
            # No configuration is like this one, so that nothing is adopted.
            await ProcessEngine(self._name, None, "", layout=self._layout).adopt()
        dockerd = Dockerd(settings.load_host(self._layout).docker_host)
        if dockerd.is_there:
            await remove(dockerd, self._layout, self._name)
        upstream.remove_all(self._layout.upstream(self._name))

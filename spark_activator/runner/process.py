"""An engine that is a process: we are the client of its supervisor.

The supervisor (`supervisor.py`) is a unit of its own, so that the engine
survives a crash of ours and does not live in our sandbox.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from spark_activator.catalog.model import Model
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner import upstream
from spark_activator.runner.lines import LineReader
from spark_activator.runner.spec import STOP_TIMEOUT

logger = logging.getLogger(__name__)

# systemd may have to start the supervisor first, and it the engine.
ANSWER_LIMIT = 15.0
# After its SIGKILL the supervisor collects what the engine has forked.
STOP_MARGIN = 15.0
# A log line comes inside a JSON line: longer than the line itself.
MAX_LINE = 131072


class _LostError(Exception):
    """The supervisor closed the connection, or never answered."""


class _NobodyThereError(EngineFailed):
    """No supervisor listens."""


class ProcessEngine:
    """The process engine of *name*; see `engine.Engine`.

    Without a *model* it can only be ended.
    """

    def __init__(self, name: str, model: Model | None, config: str, *, layout: Layout) -> None:
        self.activation: str | None = None
        self.may_exist = False
        self._name = name
        self._model = model
        self._config = config
        self._layout = layout
        self._stream: trio.SocketStream | None = None
        self._lines: LineReader | None = None
        self._over = trio.Event()
        self._followed = False

    async def adopt(self) -> bool:
        """See `engine.Engine.adopt`."""
        self.may_exist = True  # as far as we know, until it is said
        event = await self._ask({"adopt": True})
        self.may_exist = event.get("event") == "running"
        if not self.may_exist:
            await self._hang_up()
            return False
        activation = str(event.get("activation", ""))
        if event.get("config") == self._config and upstream.exists(self._parent, activation):
            self.activation = activation
            return True
        await self.stop()
        upstream.remove_all(self._parent)
        return False

    async def start(self, activation: str) -> None:
        """See `engine.Engine.start`."""
        assert self._model is not None
        try:
            upstream.make(self._parent, activation)
            if self._model.tcp is not None:
                socket = self._layout.tcp_socket(self._name)
                upstream.give_socket(self._parent, activation, socket)
        except OSError as error:
            raise EngineFailed(
                "state_unwritable", f"cannot make the engine's directory: {error.strerror}"
            ) from error
        self.may_exist = True
        event = await self._ask(
            {
                "run": {
                    "command": list(self._model.command),
                    "env": self._model.env,
                    "directory": str(self._parent / activation),
                    "activation": activation,
                    "config": self._config,
                    "grace": float(STOP_TIMEOUT),
                }
            }
        )
        if event.get("event") != "started":
            logger.error("The supervisor did not start the engine: %s", event)
            raise EngineFailed(
                "start_failed",
                f"the engine of '{self._name}' did not start (see: spark-model logs {self._name})",
            )
        self.activation = activation

    async def follow(self, on_line: Callable[[str], None]) -> str:
        """See `engine.Engine.follow`."""
        self._followed = True
        try:
            while True:
                event = await self._next()
                if event.get("event") == "log":
                    on_line(str(event.get("line", "")))
                elif event.get("event") == "exited":
                    self.may_exist = False
                    return f"exited with status {event.get('status')}"
        except _LostError:
            return "ended together with its supervisor"
        finally:
            self._followed = False
            self._over.set()

    async def effort(self) -> float | None:
        """See `engine.Engine.effort`: its log has to do."""
        return None

    async def containers(self) -> frozenset[str]:
        """See `engine.Engine.containers`: asking Docker would start it."""
        await trio.lowlevel.checkpoint()
        return frozenset()

    async def kill(self) -> None:
        """See `engine.Engine.kill`."""
        try:
            await self._send({"stop": {"grace": 0.0}})
        except _LostError as error:
            words = f"the supervisor of '{self._name}' was lost"
            raise EngineFailed("start_failed", words) from error

    async def stop(self) -> None:
        """See `engine.Engine.stop`."""
        # The second time with a connection of our own, where the first was lost.
        for _ in range(2):
            if self.may_exist:
                await self._end()
            await self._hang_up()
            if not self.may_exist:
                return
        raise EngineFailed("start_failed", f"the engine of '{self._name}' does not end")

    async def _end(self) -> None:
        try:
            if self._stream is None:
                event = await self._ask({"adopt": True})
                self.may_exist = event.get("event") == "running"
        except _NobodyThereError:
            # systemd ends what a supervisor leaves behind.
            self.may_exist = False
        with trio.move_on_after(STOP_TIMEOUT + STOP_MARGIN):
            try:
                if self.may_exist:
                    await self._send({"stop": {"grace": float(STOP_TIMEOUT)}})
                if self._followed:
                    await self._over.wait()
                while self.may_exist:
                    self.may_exist = (await self._next()).get("event") != "exited"
            except _LostError:
                pass

    @property
    def _parent(self) -> Path:
        return self._layout.upstream(self._name)

    async def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Connect, send *order* and return the first answer that is no log line."""
        await self._hang_up()
        path = self._layout.engine_socket(self._name)
        try:
            with trio.fail_after(ANSWER_LIMIT):
                fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    self._stream = await upstream.connect_below(fd, path.name)
                finally:
                    os.close(fd)
                self._lines = LineReader(self._stream, MAX_LINE)
                await self._send(order)
                while (event := await self._next()).get("event") == "log":
                    logger.error("engine: %s", event.get("line"))
                return event
        except (OSError, trio.TooSlowError, _LostError) as error:
            logger.error("The supervisor of '%s' does not answer: %r", self._name, error)
            words = f"the supervisor of '{self._name}' does not answer"
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise _NobodyThereError("start_failed", words) from error
            raise EngineFailed("start_failed", words) from error

    async def _send(self, body: dict[str, Any]) -> None:
        if self._stream is None:
            raise _LostError
        try:
            await self._stream.send_all(json.dumps(body).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _LostError from error

    async def _next(self) -> dict[str, Any]:
        if self._lines is None:
            raise _LostError
        try:
            line = await self._lines.read()
            body = json.loads(line) if line else None
        except (trio.BrokenResourceError, trio.ClosedResourceError, ValueError) as error:
            raise _LostError from error
        if not isinstance(body, dict):
            raise _LostError
        return body

    async def _hang_up(self) -> None:
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)
        self._stream = self._lines = None

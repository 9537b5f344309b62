"""The loaded engine: its routes, and how an answer is generated."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from spark_activator.demo import faults, shapes
from spark_activator.demo.asked import Asked, BadRequest, read
from spark_activator.demo.connection import Connection, CutShort, Request
from spark_activator.demo.metrics import Metrics
from spark_activator.demo.settings import Settings

_GENERATING = {"/v1/chat/completions": True, "/v1/completions": False}
_LOOKING = ("/health", "/ping", "/v1/models", "/metrics", "/version", "/load")


class Engine:
    """What is served, on however many connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self._slots = trio.Semaphore(settings.max_concurrent)
        self._started = trio.current_time()
        self._created = int(time.time())
        # Requests that were let through to generate, for `--dead-after-requests`.
        self._served = 0

    async def respond(self, client: Connection, request: Request) -> None:
        """Answer *request*, whatever it is.

        Raises:
            ClientGone: Nobody is there to be answered.
            CutShort: The answer is to stay as it is.
        """
        try:
            if request.path in _GENERATING:
                self._expect("POST", request)
                chat = _GENERATING[request.path]
                await self._generate(client, read(request.body, self._settings, chat=chat))
            elif request.path in _LOOKING:
                self._expect("GET", request)
                await self._look(client, request.path)
            else:
                raise BadRequest(f"Not Found: {request.method} {request.path}", status=404)
        except BadRequest as error:
            await client.answer(error.status, shapes.error(error.status, error.message))

    def _expect(self, method: str, request: Request) -> None:
        if request.method != method:
            raise BadRequest(f"Method Not Allowed: {request.method}", status=405)

    async def _look(self, client: Connection, path: str) -> None:
        settings = self._settings
        if path == "/health":
            late = trio.current_time() < self._started + settings.faults.health_delay
            await client.answer(503 if late else 200, b"", "text/plain")
        elif path == "/ping":
            await client.answer(200, b"", "text/plain")
        elif path == "/metrics":
            text = self.metrics.render(settings.names[0]).encode()
            await client.answer(200, text, "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/version":
            await client.answer(200, b'{"version":"demo"}')
        elif path == "/load":
            await client.answer(200, b'{"server_load":%d}' % self.metrics.running)
        else:
            limit = settings.max_model_len
            await client.answer(
                200, shapes.models(settings.names, created=self._created, max_model_len=limit)
            )

    async def _generate(self, client: Connection, asked: Asked) -> None:
        told = self._settings.faults
        dead = told.dead_health is not None and self._served >= told.dead_after_requests
        first = self._served == 0
        self._served += 1
        if dead and told.dead_health == "hang":
            await trio.sleep_forever()
        if dead:
            raise BadRequest("EngineCore encountered an issue", status=500)
        if asked.fault is not None and asked.fault.kind == "status":
            raise BadRequest("told to fail", status=asked.fault.number)
        ended = "abort"
        try:
            with self.metrics.one_waiting():
                await self._slots.acquire()
            try:
                with self.metrics.one_running():
                    ended = await self._run(client, asked, first=first)
            finally:
                self._slots.release()
        except CutShort:
            ended = "error"
            raise
        finally:
            self.metrics.finished[ended] += 1

    async def _run(self, client: Connection, asked: Asked, *, first: bool) -> str:
        self.metrics.prompt_tokens += asked.prompt_tokens
        settings = self._settings
        delay = settings.first_token_delay + (settings.warmup_time if first else 0)
        pace = partial(self._wait_for_token, asked, trio.current_time() + delay)
        number = secrets.token_hex(12)
        if asked.stream:
            await self._stream(client, asked, pace, number)
        else:
            for index in range(len(asked.tokens)):
                await pace(index)
            await client.answer(200, shapes.answer(asked, number=number, created=int(time.time())))
        return asked.reason

    async def _stream(
        self,
        client: Connection,
        asked: Asked,
        pace: Callable[[int], Awaitable[None]],
        number: str,
    ) -> None:
        chunks = shapes.Chunks(asked, number=number, created=int(time.time()))
        await client.begin_stream()
        if event := chunks.first():
            await client.send_event(event)
        for index in range(len(asked.tokens)):
            await pace(index)
            await client.send_event(chunks.token(index))
        if asked.include_usage:
            await client.send_event(chunks.usage())
        await client.send_event(shapes.DONE)
        await client.end_stream()

    async def _wait_for_token(self, asked: Asked, start: float, index: int) -> None:
        """Return when token *index* is there, unless a fault comes first."""
        if index == self._settings.faults.die_after_tokens:
            faults.die()
        if asked.fault is not None and asked.fault.number == index:
            if asked.fault.kind == "die":
                faults.die()
            if asked.fault.kind == "cut":
                raise CutShort
            await trio.sleep_forever()
        rate = self._settings.tokens_per_second
        due = start + (index / rate if rate else 0)
        if due > trio.current_time():
            await trio.sleep_until(due)
        self.metrics.generation_tokens += 1

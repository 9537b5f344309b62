"""How an answer is generated: its turn, its pace, and what goes wrong on the way."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from spark_activator.demo import chat, faults, messages, responses, shapes
from spark_activator.demo.asked import Api, Asked, BadRequest
from spark_activator.demo.connection import Connection, CutShort
from spark_activator.demo.metrics import Metrics
from spark_activator.demo.settings import Settings


class Turn:
    """A request that may generate now; tells how it ended, for the metrics."""

    def __init__(self, *, first: bool) -> None:
        self.first = first
        self.ended = "abort"


class Generation:
    """Lets requests generate, so many at once.

    Args:
        settings: The command line.
        metrics: What is counted.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._slots = trio.Semaphore(settings.max_concurrent)
        # Requests that were let through to generate, for `--dead-after-requests`.
        self._served = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait for a slot, and have it during the block.

        Raises:
            BadRequest: By `--dead-health`.
        """
        told = self._settings.faults
        dead = told.dead_health is not None and self._served >= told.dead_after_requests
        turn = Turn(first=self._served == 0)
        self._served += 1
        if dead and told.dead_health == "hang":
            await trio.sleep_forever()
        if dead:
            raise BadRequest("EngineCore encountered an issue", status=500)
        try:
            with self._metrics.one_waiting():
                await self._slots.acquire()
            try:
                with self._metrics.one_running():
                    yield turn
            finally:
                self._slots.release()
        except CutShort:
            turn.ended = "error"
            raise
        finally:
            self._metrics.finished[turn.ended] += 1

    async def answer(self, client: Connection, asked: Asked, writer: shapes.Writer) -> None:
        """Generate what was *asked*, and send it as *writer* writes it.

        Raises:
            BadRequest: It was asked to fail.
            CutShort: It was asked to be cut.
            ClientGone: Nobody is there any more.
        """
        if asked.fault is not None and asked.fault.kind == "status":
            raise BadRequest("told to fail", status=asked.fault.number)
        async with self.turn() as turn:
            pace = self.pace(asked, turn)
            if asked.stream:
                await _stream(client, asked, writer, pace)
            else:
                await pace.to_end()
                await client.answer(200, writer.whole())
            turn.ended = "length" if asked.reason == "length" else "stop"

    def pace(self, asked: Asked, turn: Turn) -> Pace:
        """Begin to generate what was *asked*."""
        self._metrics.prompt_tokens += asked.prompt_tokens
        return Pace(self._settings, self._metrics, asked, first=turn.first)


class Pace:
    """When each token of an answer is there, unless a fault comes first."""

    def __init__(self, settings: Settings, metrics: Metrics, asked: Asked, *, first: bool) -> None:
        self._settings = settings
        self._metrics = metrics
        self._asked = asked
        delay = settings.first_token_delay + (settings.warmup_time if first else 0)
        self._start = trio.current_time() + delay
        self._index = 0

    async def next(self) -> bool:
        """Return when the next token is there, and whether it is the last one.

        Raises:
            CutShort: It was asked to be cut here.
        """
        index, fault = self._index, self._asked.fault
        self._index += 1
        if index == self._settings.faults.die_after_tokens:
            faults.die()
        if fault is not None and fault.number == index:
            if fault.kind == "die":
                faults.die()
            if fault.kind == "cut":
                raise CutShort
            await trio.sleep_forever()
        rate = self._settings.tokens_per_second
        due = self._start + (index / rate if rate else 0)
        if due > trio.current_time():
            await trio.sleep_until(due)
        self._metrics.generation_tokens += 1
        return self._index == self._asked.length

    async def to_end(self) -> None:
        """Return when all tokens are there.

        Raises:
            CutShort: It was asked to be cut on the way.
        """
        while self._index < self._asked.length:
            await self.next()


def writer_of(asked: Asked) -> shapes.Writer:
    """Return who writes the answer in the words of its API."""
    number, created = secrets.token_hex(12), int(time.time())
    if asked.api is Api.MESSAGES:
        return messages.Events(asked, number=number)
    if asked.api is Api.RESPONSES:
        return responses.Events(asked, number=number, created=created)
    return chat.Chunks(asked, number=number, created=created)


async def _stream(client: Connection, asked: Asked, writer: shapes.Writer, pace: Pace) -> None:
    await client.begin_stream()
    for event in writer.begin():
        await client.send_event(event)
    for block in asked.blocks:
        for event in writer.open(block):
            await client.send_event(event)
        for token in block.tokens:
            last = await pace.next()
            await client.send_event(writer.token(token, last=last))
        for event in writer.close(block):
            await client.send_event(event)
    for event in writer.end():
        await client.send_event(event)
    await client.end_stream()

"""What the runner is told of requests: how many are in flight, and what API keys have had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import trio

from spark_activator.activator.runnerline import RunnerLine
from spark_activator.activator.usage import Counter
from spark_activator.protocol import Busy

# Between two `busy` lines: the runner decides in seconds, not per request.
EDGE_PAUSE: Final = 0.1


class Report:
    """Knows all requests in flight, and says so on edges between none and some.

    Attributes:
        usage: What API keys have had, to be told to the runner.
    """

    def __init__(self) -> None:
        self.usage = Counter()
        self._present: set[object] = set()
        # Of those, the ones for which the engine was brought up; None without an engine.
        self._brought_up_for: set[object] | None = None
        self._edge = trio.Event()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request for the duration of the block."""
        request = object()
        self._present.add(request)
        self._edge.set()
        try:
            yield
        finally:
            self._present.discard(request)
            if self._brought_up_for is not None:
                self._brought_up_for.discard(request)
            self._edge.set()

    def engine_came(self) -> None:
        """Note that the engine is there: it was brought up for all who are here."""
        if self._brought_up_for is None:
            self._brought_up_for = set(self._present)

    def engine_went(self) -> None:
        """Note that there is no engine of ours any more."""
        self._brought_up_for = None

    def busy(self) -> Busy:
        """Say how things are now."""
        held = None if self._brought_up_for is None else len(self._brought_up_for)
        return Busy(len(self._present), held)

    async def run(self, runner: RunnerLine, said: Busy) -> None:
        """Tell *runner*, which has heard *said*, what changes; until cancelled.

        Raises:
            RunnerLost: It is gone or does not read.
        """
        while True:
            await trio.sleep(EDGE_PAUSE)
            while _is_same(said, now := self.busy()) and not self._usage_is_due:
                self._edge = trio.Event()
                with trio.move_on_at(self.usage.due_at):
                    await self._edge.wait()
            said = now
            if self._usage_is_due:
                await self.tell_usage(runner)
            else:
                await runner.send(said)

    @property
    def _usage_is_due(self) -> bool:
        return trio.current_time() >= self.usage.due_at

    async def tell_usage(self, runner: RunnerLine) -> None:
        """Tell *runner* what API keys have had, as far as it was not told.

        Raises:
            RunnerLost: It is gone or does not read; what it has not heard is kept.
        """
        while (usage := self.usage.take(trio.current_time())) is not None:
            try:
                await runner.send(replace(self.busy(), usage=usage))
            except BaseException:
                self.usage.give_back(usage)
                raise


def _is_same(said: Busy, now: Busy) -> bool:
    """Say whether the runner need not hear *now*: no edge between none and some."""
    return bool(said.in_flight) is bool(now.in_flight) and bool(said.held) is bool(now.held)

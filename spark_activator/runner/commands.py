"""What the command line asks of a runner: stop, hold, warm, reset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from spark_activator.catalog.model import Timeouts
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.protocol import Answer, Control, Failed, Queued, Ready, Starting
from spark_activator.runner import breaker_file, settings
from spark_activator.runner.breaker import Record
from spark_activator.runner.demand import Claim, Demand


class Commands:
    """Carries out one after the other, each with one answer.

    Args:
        stop: Ends the activation that goes on, and says whether there was one.
    """

    def __init__(
        self, name: str, layout: Layout, demand: Demand, stop: Callable[[], Awaitable[bool]]
    ) -> None:
        self._name = name
        self._layout = layout
        self._demand = demand
        self._end = stop

    async def carry_out(self, control: Control) -> Answer:
        """Do what is asked and return the answer."""
        match control.command:
            case "stop":
                return await self._stop()
            case "warm":
                return self._let_go() or await self._warm()
            case "hold":
                return await self._hold()
            case "reset":
                return self._reset()

    async def _stop(self) -> Answer:
        stopped = await self._end()
        words = "is stopped" if stopped else "is not running"
        return Answer(ok=True, message=f"'{self._name}' {words}")

    async def _hold(self) -> Answer:
        try:
            # First, so that nobody starts it again while it stops.
            breaker_file.hold(self._layout, self._name)
        except OSError as error:
            return Answer(ok=False, message=f"cannot hold '{self._name}': {error.strerror}")
        await self._end()
        return Answer(ok=True, message=f"'{self._name}' is stopped, and held until it is warmed")

    def _let_go(self) -> Answer | None:
        try:
            breaker_file.let_go(self._layout, self._name)
        except OSError as error:
            return Answer(ok=False, message=f"cannot end the hold: {error.strerror}")
        return None

    def _reset(self) -> Answer:
        if not breaker_file.write(self._layout, self._name, Record()):
            return Answer(ok=False, message=f"cannot forget the failed starts of '{self._name}'")
        held = breaker_file.is_held(self._layout, self._name)
        words = f"; it is held (run: spark-model warm {self._name})" if held else ""
        return Answer(ok=True, message=f"failed starts of '{self._name}' are forgotten{words}")

    async def _warm(self) -> Answer:
        claim = Claim()
        claim.in_flight, claim.waits = 0, True
        self._demand.join(claim)
        try:
            async for line in claim.lines:
                if isinstance(line, Ready):
                    self._demand.keep(self._idle_time(), 0)
                    return Answer(ok=True, message=f"'{self._name}' is ready")
                if isinstance(line, Failed):
                    return Answer(ok=False, message=line.message)
                if not isinstance(line, Queued | Starting):
                    return Answer(ok=False, message=f"'{self._name}' was stopped")
        finally:
            self._demand.leave(claim, lost=False)
        raise AssertionError  # the outbox is never closed

    def _idle_time(self) -> float:
        try:
            return settings.load_model(self._layout, self._name).timeouts.idle
        except EngineFailed:
            return Timeouts().idle  # a file that broke while the engine started

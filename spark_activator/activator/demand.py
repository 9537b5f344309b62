"""The demand for the model: who waits for it, and the connection that says so.

**The open connection to the runner is the demand.**  It is made for the first
request that needs the engine and kept until the process leaves.  It ends by

* `bye`, ours, when nobody needs the model any more;
* `failed`, which refuses everybody who waits;
* `stopping`, when the engine went for a reason that is not ours;
* `yield`, after what is in flight has ended: we say `yielded` and close;
* nothing at all, when the runner was lost: systemd starts it again, it adopts
  the engine, and we connect again.  Streams do not pass through the runner and
  notice nothing.

Whoever still waits after the end is a new connection, thus a new ticket.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import trio

from spark_activator.activator.held import Held
from spark_activator.activator.idle import IdleClock
from spark_activator.activator.patience import Patience
from spark_activator.activator.report import Report
from spark_activator.activator.runnerline import RunnerLine, RunnerLost
from spark_activator.activator.served import Served
from spark_activator.activator.words import boottime
from spark_activator.errors import REFUSALS, Refusal
from spark_activator.http.standing import standing
from spark_activator.layout import Layout
from spark_activator.protocol import (
    Bye,
    Failed,
    FromRunner,
    Hello,
    Queued,
    Ready,
    Starting,
    Stopping,
    Yield,
    Yielded,
)

logger = logging.getLogger(__name__)

# It becomes part of a path.
_ACTIVATION = re.compile(r"[0-9a-f]{8}")


class Demand:
    """All requests for one model, and the runner's answer; `run` must be running.

    The engine gets *most_served* requests at once, if that is not None; the others
    wait as they do for the engine itself.

    Attributes:
        line: What the runner said last; None while nothing is asked of it.
        usage: What API keys have had, to be told to the runner.
    """

    def __init__(
        self,
        name: str,
        layout: Layout,
        clock: IdleClock,
        changed: Callable[[], None],
        most_served: int | None = None,
    ) -> None:
        self._path = layout.runner_socket(name)
        self._clock = clock
        self._changed = changed
        self.line: FromRunner | None = None
        self._report = Report()
        self.usage = self._report.usage
        self._held = Held()
        self._served = Served(most_served, self._place_freed)
        self._activation: str | None = None
        self._gone = trio.Event()
        self._wanted = trio.Event()
        self._runner: RunnerLine | None = None
        self._patience = Patience()

    @property
    def waiting(self) -> int:
        """How many requests are held."""
        return self._held.count

    @property
    def ready(self) -> bool:
        """Whether the engine is there, and not being given away."""
        return self._activation is not None

    @property
    def full(self) -> bool:
        """Whether the engine has as many requests as it may have."""
        return self._served.full

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request as in flight for the duration of the block."""
        with self._report.request():
            self._clock.request_began()
            self._changed()
            try:
                yield
            finally:
                self._clock.request_ended(trio.current_time())
                self._changed()

    def serving(self) -> AbstractContextManager[None]:
        """Keep the engine from being given away for the duration of the block.

        To be entered at once after `wait_ready`, without waiting in between.
        """
        return self._served.one()

    def _place_freed(self) -> None:
        if self.waiting:
            self._held.look()

    async def wait_ready(self) -> str:
        """Wait for the engine, and for a place there; return its activation.

        Raises:
            Refusal: It is not coming.
        """
        return await self._held.wait(lambda: self.at_once, lambda: self._wanted.set())

    @property
    def at_once(self) -> str | None:
        """The activation, where nobody would have to wait for it; else None."""
        return None if self.full else self._activation

    async def wait_gone(self, activation: str) -> None:
        """Wait until the runner, too, knows that *activation* is dead."""
        while self._activation == activation:
            await self._gone.wait()

    def refuse(self, refusal: Refusal) -> None:
        """Refuse all who wait and all who come; who is served is left alone."""
        self._held.close(refusal)

    async def bye(self) -> None:
        """Tell the runner that nobody needs the model any more."""
        if self._runner is not None:
            try:
                await self._report.tell_usage(self._runner)
                await self._runner.send(Bye())
            except RunnerLost as lost:
                logger.debug("Failed to say bye to the runner, ignoring: %s", lost)

    async def settle(self) -> None:
        """Tell the runner what API keys have had, as far as it was not told."""
        if self._runner is not None:
            with suppress(RunnerLost):  # whoever comes next cannot know it
                await self._report.tell_usage(self._runner)

    async def run(self) -> None:
        """Keep the connection while there is demand, until cancelled."""
        while True:
            await self._wait_wanted()
            self._patience.opened(trio.current_time())
            try:
                async with await RunnerLine.open(self._path) as runner:
                    await self._converse(runner)
                self._patience.kept()
            except OSError as error:
                logger.error("Cannot connect to '%s': %s", self._path, error)
                self._despair("the model's runner does not answer")
            except RunnerLost as lost:
                logger.warning("Lost the runner, connecting again: %s", lost)
                self._patience.lost(trio.current_time())
            self._runner = self.line = None
            self._forget_engine()
            self._changed()
            if self._patience.exhausted(trio.current_time()):
                self._despair("the model's runner does not start, or ends at once")
            await trio.sleep_until(self._patience.next_at)

    async def _wait_wanted(self) -> None:
        while not self.waiting and not self._clock.demanded:
            self._wanted = trio.Event()
            await self._wanted.wait()
        if not self._clock.demanded:
            self._clock.demand_began()
            self._changed()

    async def _converse(self, runner: RunnerLine) -> None:
        lost: RunnerLost | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell, runner)
            lost = await self._listen(runner, nursery)
            nursery.cancel_scope.cancel()
        if lost is not None:
            raise lost
        self._clock.demand_ended()

    async def _tell(self, runner: RunnerLine) -> None:
        with suppress(RunnerLost):  # who listens sees it, too
            said = self._report.busy()
            await runner.send(Hello("demand"), said)
            self._runner = runner
            await self._report.run(runner, said)

    async def _listen(self, runner: RunnerLine, nursery: trio.Nursery) -> RunnerLost | None:
        """Take in what the runner says; return why it ended where that was no line."""
        yielding = False
        while True:
            try:
                with trio.fail_at(self._patience.deadline):
                    line = await runner.receive()
            except trio.TooSlowError:
                return RunnerLost("it says nothing")
            except RunnerLost as lost:
                return None if yielding else lost
            self._patience.heard(stopping=isinstance(line, Stopping))
            self.line = line
            match line:
                case Ready(upstream):
                    if not _ACTIVATION.fullmatch(upstream):
                        return RunnerLost(f"it named the activation {upstream[:20]!r}")
                    self._ready(upstream)
                case Yield(reason):
                    logger.info("Giving the model away when all is answered: %s", reason)
                    yielding = True
                    self._forget_engine()
                    nursery.start_soon(self._give_way, runner, nursery.cancel_scope)
                case Stopping():
                    return None
                case Failed(code, message, retry_after):
                    code = code if code in REFUSALS else "start_failed"
                    self._clock.demand_ended()
                    headers = standing(line, boottime())
                    refusal = Refusal(code, message, retry_after=retry_after, headers=headers)
                    self._held.refuse(refusal)
                    return None
                case Queued() | Starting():
                    pass
            self._changed()

    def _ready(self, activation: str) -> None:
        self._report.engine_came()
        self._activation = activation
        self._clock.model_ready(trio.current_time())
        self._held.look()

    def _forget_engine(self) -> None:
        self._activation = None
        self._report.engine_went()
        self._gone.set()
        self._gone = trio.Event()

    async def _give_way(self, runner: RunnerLine, conversation: trio.CancelScope) -> None:
        await self._served.wait_none()
        with suppress(RunnerLost):  # then it has the memory back all the same
            await self._report.tell_usage(runner)
            await runner.send(Yielded())
        conversation.cancel()

    def _despair(self, message: str) -> None:
        """Refuse those who wait for a runner that cannot be reached."""
        self._patience = Patience()
        self._held.refuse(Refusal("runner_unavailable", message))
        # A runner that comes back must find who still uses its engine.
        if not self._served.count:
            self._clock.demand_ended()

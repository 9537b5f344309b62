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
from dataclasses import replace

import trio

from spark_activator.activator.held import Held
from spark_activator.activator.idle import IdleClock
from spark_activator.activator.patience import Patience
from spark_activator.activator.runnerline import RunnerLine, RunnerLost
from spark_activator.activator.served import Served
from spark_activator.activator.usage import Counter
from spark_activator.activator.words import boottime
from spark_activator.errors import REFUSALS, Refusal
from spark_activator.http.standing import standing
from spark_activator.layout import Layout
from spark_activator.protocol import (
    Busy,
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

# Between two `busy` lines: the runner decides in seconds, not per request.
EDGE_PAUSE = 0.1

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
        self.usage = Counter()
        self._held = Held()
        # Requests in flight, and those of them for which the engine was brought up.
        self._present: set[object] = set()
        self._brought_up_for: set[object] = set()
        self._served = Served(most_served, self._place_freed)
        self._activation: str | None = None
        self._gone = trio.Event()
        self._wanted = trio.Event()
        self._edge = trio.Event()
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
        request = object()
        self._present.add(request)
        self._clock.request_began()
        self._edge.set()
        self._changed()
        try:
            yield
        finally:
            self._present.discard(request)
            self._brought_up_for.discard(request)
            self._clock.request_ended(trio.current_time())
            self._edge.set()
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
                await self._tell_usage(self._runner)
                await self._runner.send(Bye())
            except RunnerLost as lost:
                logger.debug("Failed to say bye to the runner, ignoring: %s", lost)

    async def settle(self) -> None:
        """Tell the runner what API keys have had, as far as it was not told."""
        if self._runner is not None:
            with suppress(RunnerLost):  # whoever comes next cannot know it
                await self._tell_usage(self._runner)

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
            nursery.start_soon(self._report, runner)
            lost = await self._listen(runner, nursery)
            nursery.cancel_scope.cancel()
        if lost is not None:
            raise lost
        self._clock.demand_ended()

    async def _report(self, runner: RunnerLine) -> None:
        try:
            said = self._busy()
            await runner.send(Hello("demand"), said)
            self._runner = runner
            while True:
                await trio.sleep(EDGE_PAUSE)
                while _is_same(said, now := self._busy()) and not self._usage_is_due:
                    self._edge = trio.Event()
                    with trio.move_on_at(self.usage.due_at):
                        await self._edge.wait()
                said = now
                if self._usage_is_due:
                    await self._tell_usage(runner)
                else:
                    await runner.send(said)
        except RunnerLost:
            pass  # who listens sees it, too

    @property
    def _usage_is_due(self) -> bool:
        return trio.current_time() >= self.usage.due_at

    async def _tell_usage(self, runner: RunnerLine) -> None:
        while (usage := self.usage.take(trio.current_time())) is not None:
            try:
                await runner.send(replace(self._busy(), usage=usage))
            except BaseException:
                self.usage.give_back(usage)
                raise

    def _busy(self) -> Busy:
        held = None if self._activation is None else len(self._brought_up_for)
        return Busy(self._clock.in_flight, held)

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
        if self._activation is None:
            self._brought_up_for = set(self._present)
        self._activation = activation
        self._clock.model_ready(trio.current_time())
        self._held.look()

    def _forget_engine(self) -> None:
        self._activation = None
        self._gone.set()
        self._gone = trio.Event()

    async def _give_way(self, runner: RunnerLine, conversation: trio.CancelScope) -> None:
        await self._served.wait_none()
        with suppress(RunnerLost):  # then it has the memory back all the same
            await self._tell_usage(runner)
            await runner.send(Yielded())
        conversation.cancel()

    def _despair(self, message: str) -> None:
        """Refuse those who wait for a runner that cannot be reached."""
        self._patience = Patience()
        self._held.refuse(Refusal("runner_unavailable", message))
        # A runner that comes back must find who still uses its engine.
        if not self._served.count:
            self._clock.demand_ended()


def _is_same(said: Busy, now: Busy) -> bool:
    """Say whether the runner need not hear *now*: no edge between none and some."""
    return bool(said.in_flight) is bool(now.in_flight) and bool(said.held) is bool(now.held)

"""The wait of a program that is no model for its lease: a name, a ticket, the turn.

It is as a model's (`queueing.py`), but that nobody learns how long it takes, and
that it is never asked to go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from spark_activator.catalog.model import Lifecycle
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner import memory
from spark_activator.runner.gpu_files import alive, boottime
from spark_activator.runner.holders import sentence, wait_free_beside
from spark_activator.runner.lease import Ledger
from spark_activator.runner.lending_lines import Borrow
from spark_activator.runner.memory import Gauge
from spark_activator.runner.plan import Lease, LeaseState, Plan, Refuse, Take, Ticket, Wait
from spark_activator.runner.plan_lock import under_plan
from spark_activator.runner.plan_values import WaiterStep
from spark_activator.runner.refusals import refused, shown
from spark_activator.runner.settings import load_host
from spark_activator.runner.watch import DirectoryWatch

Say = Callable[[str], Awaitable[None]]


class Borrower:
    """One program's way to its lease.

    Args:
        say: Tells the client what is waited for; said only when it changes.
    """

    def __init__(self, layout: Layout, request: Borrow, say: Say) -> None:
        self._layout = layout
        self._request = request
        self._say = say
        self._said = ""
        self._since = boottime()

    async def wait(self) -> Ledger:
        """Return with the lease held and its memory there; cancelled, nothing is left.

        Raises:
            EngineFailed: It is refused, or the directory of leases cannot be used.
        """
        ledger = await self._stand_in_queue()
        try:
            await self._wait_turn(ledger)
            ledger.drop_ticket()
            await self._wait_memory(ledger)
        except BaseException:
            ledger.drop_ticket()
            ledger.free_lease()
            raise
        return ledger

    async def _stand_in_queue(self) -> Ledger:
        while True:
            ledger = Ledger(self._layout, await self._free_name())
            await ledger.draw_ticket(self._ticket(ledger.name))
            # Between the two looks another may have had the name, and even its lease.
            if ledger.ticket_lock.held:
                if ledger.name not in await self._taken("lease"):
                    return ledger
                ledger.drop_ticket()

    async def _free_name(self) -> str:
        # No model's name begins so.
        first = name = f"+{self._request.name}"
        count = 1
        taken = await self._taken("lease", "ticket")
        while name in taken:
            count += 1
            name = f"{first}.{count}"
        return name

    async def _taken(self, *kinds: str) -> set[str]:
        gpu = self._layout.gpu
        return await under_plan(gpu, lambda: {name for kind in kinds for name in alive(gpu, kind)})

    def _ticket(self, name: str) -> Ticket:
        # It starts at once, so a switch to it costs what the model that goes
        # costs; but how long it stays nobody knows: no `start`, which would
        # have it pass as a small helper does.
        return Ticket(name, self._request.memory, self._since, 0, self._lifecycle, cost=0.0)

    @property
    def _lifecycle(self) -> Lifecycle:
        return Lifecycle.EXCLUSIVE if self._request.exclusive else Lifecycle.NORMAL

    async def _wait_turn(self, ledger: Ledger) -> None:
        watch = DirectoryWatch(ledger.directory)
        try:
            while True:
                step = await ledger.next_step(lambda plan: self._own_step(plan, ledger))
                match step:
                    case Take():
                        return
                    case Refuse():
                        terms = ledger.terms
                        assert terms is not None  # a plan was made
                        raise refused(ledger.ticket, step, budget=terms.budget, now=boottime())
                    case Wait(position, ahead):
                        names = ", ".join(shown(name) for name in ahead)
                        behind = f", behind {names}" if names else ""
                        await self._tell(f"its turn: position {position}{behind}")
                await watch.wait()
        finally:
            watch.close()

    async def _wait_memory(self, ledger: Ledger) -> None:
        # No init.lock: what it takes and when only the program knows, so a lock
        # for its first moments would protect no engine that measures.
        need = self._request.memory
        gauge = Gauge(self._layout.proc, load_host(self._layout))
        room = (await trio.to_thread.run_sync(gauge.read)).leased
        if room.fits(need):
            return
        await self._tell(f"{need / memory.GIB:.1f} GiB of free memory")
        if not await wait_free_beside(ledger, gauge, need, on_gpu=True):
            raise await self._short(ledger, gauge)

    async def _short(self, ledger: Ledger, gauge: Gauge) -> EngineFailed:
        who = sentence([(shown(one.model), one.memory) for one in await ledger.others()], ())
        return memory.short(self._request.memory, gauge.read().leased, who)

    def _own_step(self, plan: Plan, ledger: Ledger) -> WaiterStep:
        step = plan.waiters.get(ledger.name, Wait(1, ()))
        if isinstance(step, Take):
            return step if ledger.take_lease(self._lease(ledger.name)) else Wait(1, ())
        return step

    def _lease(self, name: str) -> Lease:
        now, seconds = boottime(), self._request.seconds
        return Lease(
            name,
            self._request.memory,
            LeaseState.READY,
            since=now,
            ready_since=now,
            lifecycle=self._lifecycle,
            foreign=True,
            until=None if seconds is None else now + seconds,
        )

    async def _tell(self, words: str) -> None:
        if words != self._said:
            self._said = words
            await self._say(words)

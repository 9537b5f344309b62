"""Leases and tickets in the directory that all runners share, and the plan over them.

What all have to agree on is done under `plan.lock` (`plan_lock.py`).  A runner
carries out only the step that names itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

import trio

from spark_activator import notify
from spark_activator.catalog.host import HostSettings
from spark_activator.facts import fact
from spark_activator.layout import Layout
from spark_activator.runner.gpu_files import (
    boottime,
    lease_lock_path,
    read_lease,
    read_leases,
    read_ticket,
    read_tickets,
)
from spark_activator.runner.init_lock import InitLock
from spark_activator.runner.lock import Lock, write_json
from spark_activator.runner.memory import Gauge, Memory
from spark_activator.runner.plan import Lease, LeaseState, Plan, Ticket, plan
from spark_activator.runner.plan_lock import under_plan
from spark_activator.runner.terms import Terms, read_terms

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Changes(TypedDict, total=False):
    """What a holder says anew of its lease; see `Lease`."""

    in_flight: int
    activation: str | None
    baseline: int
    ready_since: float | None
    idle_since: float | None
    held: int


class Ledger:
    """One model's view of the shared directory: its own lease and ticket, and everybody's.

    Attributes:
        stored: Descriptors that systemd kept through our death and that are not taken back yet.
        terms: On what terms the last plan was made, None before the first.
        seen: The leases that it was made from, by model.

    Args:
        layout: Where the directory is, `Layout.gpu`; it is made where it is missing.
        name: The model.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        directory = layout.gpu
        self.directory = directory
        self.name = name
        self.terms: Terms | None = None
        self.seen: dict[str, Lease] = {}
        self._layout = layout
        self.lease_lock = Lock(lease_lock_path(directory, name), stored_as="lease")
        self.ticket_lock = Lock(directory / f"ticket-{name}.lock", stored_as="ticket")
        self.init_lock = InitLock(directory)
        self.stored: dict[str, list[int]] = {}
        self._lease = Lease(name)
        self._ticket = Ticket(name)
        self._unwritten = False
        self._machine: Memory | None = None

    @property
    def lease(self) -> Lease:
        """What we said last of our lease."""
        return self._lease

    @property
    def ticket(self) -> Ticket:
        """What we said last of our ticket."""
        return self._ticket

    async def restore(self) -> bool:
        """Take back what is `stored`; False when there was nothing.

        Raises:
            EngineFailed: The directory cannot be used.
        """
        locks = (self.lease_lock, self.ticket_lock, self.init_lock)

        def take_back() -> None:
            for lock, name in zip(locks, ("lease", "ticket", "init"), strict=True):
                for fd in self.stored.pop(name, []):
                    lock.restore(fd)

        if not self.stored:
            return False
        await under_plan(self.directory, take_back)
        self.stored = {}
        if not self.lease_lock.held:
            self.init_lock.release()
        else:
            self._lease = read_lease(self.directory, self.name)
            logger.info("%s", fact("lease kept", memory=self._lease.memory or 0))
            if self.init_lock.held:
                self.init_lock.say_initialises()
        if self.ticket_lock.held:
            self._ticket = read_ticket(self.directory, self.name)
        return True

    async def draw_ticket(self, ticket: Ticket) -> None:
        """Stand in the queue with *ticket*; one that is ours already is kept.

        Raises:
            EngineFailed: The directory cannot be used.
        """
        if self.ticket_lock.held:
            return
        self._ticket = ticket

        def draw() -> None:
            # Nobody else takes it, but a process of ours that is still ending.
            if self.ticket_lock.take_nowait():
                write_json(self._path("ticket"), asdict(self._ticket))

        await under_plan(self.directory, draw)
        self.ticket_lock.store()

    def change_ticket(
        self, *, since: float | None = None, abandoned_at: float | None = None
    ) -> None:
        """Say something else of our ticket; call it from `next_step`, before the plan.

        Args:
            since: Somebody asks since then for what was only coming back.
            abandoned_at: When its last client left.
        """
        changed = replace(self._ticket, abandoned_at=abandoned_at)
        if since is not None:
            changed = replace(changed, since=since, returning=False)
        if changed != self._ticket and self.ticket_lock.held:
            write_json(self._path("ticket"), asdict(changed))
            self._ticket = changed

    async def next_step(
        self, act: Callable[[Plan], T], before: Callable[[], None] = lambda: None
    ) -> T:
        """Plan, and have *act* record our own step, under the plan's lock.

        What *before* says of our lease or ticket is in the plan.

        Raises:
            EngineFailed: The directory cannot be used.
        """
        if self._machine is None:
            gauge = Gauge(self._layout.proc, HostSettings())
            self._machine = await trio.to_thread.run_sync(gauge.read)

        def both() -> T:
            before()
            return act(self._plan())

        return await under_plan(self.directory, both)

    async def others(self) -> list[Lease]:
        """Return the leases that are not ours.

        Raises:
            EngineFailed: The directory cannot be used.
        """
        leases = await under_plan(self.directory, lambda: read_leases(self.directory))
        return [lease for lease in leases if lease.model != self.name]

    def take_lease(self, lease: Lease) -> bool:
        """Take the lease; call it from `next_step`.  The ticket goes when systemd has a copy."""
        if not self.lease_lock.take_nowait():
            return False
        self._lease = lease
        try:
            write_json(self._path("lease"), asdict(self._lease))
        except OSError:
            self.lease_lock.release()
            raise
        budget = 0 if self.terms is None else self.terms.budget
        kind = lease.lifecycle.value
        logger.info("%s", fact("lease taken", memory=lease.memory, budget=budget, lifecycle=kind))
        return True

    def secure(self) -> bool:
        """Return when systemd has our locks for sure, False when it does not answer; it blocks."""
        held = [lock for lock in (self.lease_lock, self.init_lock) if lock.held]
        return all(lock.store() for lock in held) and notify.barrier()

    def describe(self, state: LeaseState | None = None, **changes: Unpack[Changes]) -> None:
        """Say something else of our lease; never fatal, since only the lock counts.

        What is as it was is not written: every write wakes all who wait.
        """
        changed = replace(self._lease, **changes)
        if state is not None and state is not changed.state:
            changed = replace(changed, state=state, since=boottime())
        if changed == self._lease and not self._unwritten:
            return
        self._lease = changed
        try:
            write_json(self._path("lease"), asdict(changed))
            self._unwritten = False
        except OSError as error:
            self._unwritten = True
            logger.warning("Failed to describe the lease, ignoring: %s", error)

    def drop_ticket(self) -> None:
        """Leave the queue."""
        if self.ticket_lock.held:
            self.ticket_lock.release()
            self._remove("ticket")

    def free_lease(self) -> None:
        """Let the next one have it.  Nothing of the engine may be left."""
        held = self.lease_lock.held
        if held:
            # Before, so that no other can have taken it earlier by our word.
            logger.info("%s", fact("lease freed"))
        self.init_lock.release()
        if held:
            self.lease_lock.release()
            # Unlocking alone makes no inotify event; this does.
            self._remove("lease")

    def free_reaped(self, lock: Lock) -> None:
        """Free a lease that was held only to remove what its runner left behind."""
        self._remove("lease")
        lock.release()
        # Unlocking alone makes no inotify event; this does.
        with contextlib.suppress(OSError):
            os.utime(lock.path)

    def _plan(self) -> Plan:
        # What we know of ourselves counts, also where it could not be written.
        leases = [
            self._lease if lease.model == self.name and self.lease_lock.held else lease
            for lease in read_leases(self.directory)
        ]
        self.seen = {lease.model: lease for lease in leases}
        tickets = [
            self._ticket if ticket.model == self.name and self.ticket_lock.held else ticket
            for ticket in read_tickets(self.directory)
        ]
        assert self._machine is not None  # `next_step` has asked
        self.terms = read_terms(self._layout, self._machine)
        return plan(self.terms.budget, leases, tickets, self.terms.settings, boottime())

    def _path(self, kind: str) -> Path:
        return self.directory / f"{kind}-{self.name}.json"

    def _remove(self, kind: str) -> None:
        try:
            self._path(kind).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("Failed to remove the description of our %s, ignoring: %s", kind, error)

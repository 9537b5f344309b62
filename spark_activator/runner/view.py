"""Who has what and who waits, seen from outside: nothing is changed, nobody is woken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from spark_activator.layout import Layout
from spark_activator.runner.gpu_files import boottime, read_leases, read_tickets
from spark_activator.runner.memory import Gauge, Memory
from spark_activator.runner.plan import Lease, Plan, Ticket, plan
from spark_activator.runner.plan_lock import open_plan_lock
from spark_activator.runner.settings import load_host
from spark_activator.runner.terms import Terms, read_terms


@dataclass(frozen=True, slots=True)
class View:
    """One moment of the GPU; *now* is CLOCK_BOOTTIME, *plan* what follows from the rest."""

    now: float
    terms: Terms
    memory: Memory
    leases: Sequence[Lease]
    tickets: Sequence[Ticket]
    plan: Plan


async def look(layout: Layout) -> View:
    """Look under the plan's lock: asking whether a lock is held takes it for a moment.

    Raises:
        OSError: The directory may not be read, or somebody holds the plan for too long.
    """
    directory = layout.gpu
    leases: list[Lease] = []
    tickets: list[Ticket] = []
    # Who only looks makes neither the directory nor the lock; without it nobody was ever there.
    if _is_there(layout):
        fd = await open_plan_lock(directory)
        try:
            leases = read_leases(directory)
            tickets = read_tickets(directory)
        finally:
            os.close(fd)
    machine = Gauge(layout.proc, load_host(layout)).read()
    terms, now = read_terms(layout, machine), boottime()
    steps = plan(terms.budget, leases, tickets, terms.settings, now)
    return View(now, terms, machine, leases, tickets, steps)


def _is_there(layout: Layout) -> bool:
    try:
        os.stat(layout.gpu / "plan.lock")
    except FileNotFoundError:
        return False
    return True

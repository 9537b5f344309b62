"""`spark-model lease show`: who has what, who waits, since when and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import trio

from spark_activator.catalog.model import Lifecycle
from spark_activator.cli import tables
from spark_activator.layout import Layout
from spark_activator.runner.memory import GIB
from spark_activator.runner.plan import GiveWay, Lease, Reason, Refuse, Take, Ticket, Wait
from spark_activator.runner.refusals import refused, shown
from spark_activator.runner.view import View, look


def run(layout: Layout, *, as_json: bool) -> int:
    """Print it."""
    view = trio.run(look, layout)
    print(json.dumps(as_object(view), indent=1) if as_json else as_text(view))
    return 0


def as_object(view: View) -> dict[str, Any]:
    """Return what a program gets; sizes are bytes, stamps and *now* CLOCK_BOOTTIME."""
    pause = view.terms.settings.pause
    return {
        "now": view.now,
        "budget": view.terms.budget,
        "leased": _leased(view),
        "memory": asdict(view.memory.leased),
        "pause": None if pause is None else asdict(pause),
        "leases": [
            asdict(lease) | {"model": shown(lease.model), "why": _holder_words(view, lease)}
            for lease in view.leases
        ],
        "tickets": [
            asdict(ticket) | {"model": shown(ticket.model), "why": _waiter_words(view, ticket)}
            for ticket in view.tickets
        ],
    }


def as_text(view: View) -> str:
    """Return what a person gets."""
    parts = [_table(view)] if view.leases or view.tickets else ["nobody has a lease, nobody waits"]
    if (pause := view.terms.settings.pause) is not None:
        end = "until 'spark-model resume'" if pause.until is None else tables.clock(pause.until)
        parts.append(f"paused {'' if pause.until is None else 'until '}{end}")
    budget, leased, room = view.terms.budget, _leased(view), view.memory.leased
    parts.append(
        f"{_gib(leased)} of {_gib(budget)} leased; of {_gib(room.total)} of memory "
        f"{_gib(room.available)} are available"
    )
    return "\n".join(parts)


def _table(view: View) -> str:
    rows = [
        (
            shown(lease.model),
            _size(lease),
            str(lease.state),
            tables.span(max(0.0, view.now - lease.since)) if lease.since else "?",
            _holder_words(view, lease),
        )
        for lease in view.leases
    ]
    rows += [
        (
            shown(ticket.model),
            _size(ticket),
            "waiting",
            tables.span(max(0.0, view.now - ticket.since)),
            _waiter_words(view, ticket),
        )
        for ticket in view.tickets
    ]
    return tables.table(("WHO", "MEMORY", "STATE", "SINCE", "WHY"), rows)


def _holder_words(view: View, lease: Lease) -> str:
    """Say what it does with it, and whether it has to go."""
    words = []
    if lease.foreign:
        words.append("a program, never asked to go")
    elif lease.pinned:
        words.append("keep: always, never asked to go")
    elif lease.in_flight:
        words.append(f"{lease.in_flight} in flight")
    elif lease.ready_since is not None:
        words.append("idle")
    if lease.until is not None:
        words.append(f"until {tables.clock(lease.until)}")
    match view.plan.holders.get(lease.model):
        case GiveWay(_, Reason.PAUSED):
            words.append("goes, for the GPU is paused")
        case GiveWay(to):
            words.append(f"goes for {shown(to)}")
    return ", ".join(words)


def _waiter_words(view: View, ticket: Ticket) -> str:
    """Say what it waits for."""
    match view.plan.waiters.get(ticket.model):
        case Take():
            return "its turn"
        case Wait(position, ahead, due):
            words = f"position {position}"
            if ahead:
                words += f", behind {', '.join(shown(name) for name in ahead)}"
            if due is not None and due > view.now:
                words += f", for {tables.span(due - view.now)} at most, then they stop admitting"
            return words
        case Refuse() as step:
            return refused(ticket, step, budget=view.terms.budget, now=view.now).message
        case _:
            return "its last client has left"


def _leased(view: View) -> int:
    whole = view.terms.budget
    return sum(
        whole if lease.memory is None or lease.lifecycle is Lifecycle.EXCLUSIVE else lease.memory
        for lease in view.leases
    )


def _size(one: Lease | Ticket) -> str:
    size = "?" if one.memory is None else _gib(one.memory)
    return f"{size}, alone" if one.lifecycle is Lifecycle.EXCLUSIVE else size


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}GiB"

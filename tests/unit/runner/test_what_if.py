"""What would come of a request, without one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan import (
    Contention,
    Lease,
    LeaseState,
    Pause,
    Refusal,
    Refuse,
    Settings,
    Ticket,
)
from spark_activator.runner.what_if import Answer, Outlook, what_if

NOW = 10_000.0


def lease(name: str, memory: int, idle: float | None = 1000.0, **changes: object) -> Lease:
    """Ready since long ago; idle for *idle* seconds, None: busy."""
    return replace(
        Lease(
            name,
            memory,
            LeaseState.READY,
            0 if idle is not None else 1,
            since=100.0,
            cost=100.0,
            ready_since=100.0,
            idle_since=None if idle is None else NOW - idle,
        ),
        **changes,  # type: ignore[arg-type]  # of any field
    )


def asked(name: str, memory: int, **changes: object) -> Ticket:
    return replace(Ticket(name, memory, NOW, cost=100.0, start=80.0), **changes)  # type: ignore[arg-type]  # of any field


def one(ticket: Ticket, *leases: Lease, settings: Settings | None = None) -> Outlook:
    [outlook] = what_if(10, leases, [], settings or Settings(), NOW, [ticket])
    return outlook


def test_alone_it_fits_and_history_tells_how_long_it_takes() -> None:
    assert one(asked("a", 10)) == Outlook("a", Answer.FITS, cold=80.0)
    assert one(asked("a", 10, start=None)).cold is None


def test_it_fits_beside_what_leaves_room() -> None:
    outlook = one(asked("a", 4), lease("b", 6))

    assert (outlook.answer, outlook.beside, outlook.evicts) == (Answer.FITS, ("b",), ())


def test_only_as_many_go_as_needed() -> None:
    outlook = one(asked("a", 4), lease("b", 4, 900), lease("c", 4, 1000))

    assert outlook.answer is Answer.EVICTS
    assert (outlook.evicts, outlook.beside, outlook.busy) == (("c",), ("b",), ())
    assert outlook.within == 0.0


def test_idle_one_has_its_turn_hold() -> None:
    # A quarter of C, which is 100 s, less the 5 s that it is idle.
    assert one(asked("a", 10), lease("b", 6, 5)).within == 20.0


def test_busy_one_admits_for_as_long_as_rule_5_says() -> None:
    outlook = one(asked("a", 10), lease("b", 6, None))

    assert (outlook.evicts, outlook.busy, outlook.within) == (("b",), ("b",), 300.0)


def test_refusals_are_those_of_the_plan() -> None:
    held = lease("+x", 8, foreign=True, until=NOW + 60)
    reject = Settings(Contention.REJECT)

    assert one(asked("a", 11)).refused == Refuse(Refusal.TOO_BIG)
    assert one(asked("a", 4), held).refused == Refuse(Refusal.HELD, ("+x",), NOW + 60)
    paused = one(asked("a", 4), settings=Settings(pause=Pause(NOW + 5)))
    assert paused.refused == Refuse(Refusal.PAUSED, ("pause",), NOW + 5)
    busy = one(asked("a", 10), lease("b", 6, None), settings=reject)
    assert busy.refused == Refuse(Refusal.BUSY, ("b",))
    assert {paused.answer, busy.answer} == {Answer.REFUSED}


def test_one_that_is_there_is_there() -> None:
    outlook = one(asked("a", 4), lease("a", 4), lease("b", 6))

    assert (outlook.answer, outlook.beside) == (Answer.THERE, ("b",))


def test_starting_ones_and_earlier_waiters_come_first() -> None:
    starting = lease("b", 8, state=LeaseState.STARTING)
    assert one(asked("a", 4), starting).answer is Answer.WAITS
    [outlook] = what_if(
        10, [lease("b", 8, None)], [asked("c", 8, since=NOW - 9)], Settings(), NOW, [asked("a", 4)]
    )
    assert (outlook.answer, outlook.ahead) == (Answer.WAITS, ("c", "b"))


def test_the_next_one_is_asked_for_when_the_first_is_there() -> None:
    first, second, third = what_if(
        10, [lease("x", 10)], [], Settings(), NOW, [asked("a", 6), asked("b", 4), asked("a", 6)]
    )

    assert (first.answer, first.evicts) == (Answer.EVICTS, ("x",))
    assert (second.answer, second.beside) == (Answer.FITS, ("a",))
    assert (third.answer, third.beside) == (Answer.THERE, ("b",))


def test_exclusive_evicts_all() -> None:
    outlook = one(asked("a", 1, lifecycle=Lifecycle.EXCLUSIVE), lease("b", 1), lease("c", 1))

    assert (outlook.answer, set(outlook.evicts)) == (Answer.EVICTS, {"b", "c"})


@pytest.mark.parametrize("waited", [0.0, 200.0])
def test_one_that_waits_already_keeps_its_place(waited: float) -> None:
    waiting = asked("a", 10, since=NOW - waited)
    [outlook] = what_if(10, [lease("b", 6, None)], [waiting], Settings(), NOW, [asked("a", 10)])

    assert (outlook.answer, outlook.within) == (Answer.EVICTS, 300.0 - waited)

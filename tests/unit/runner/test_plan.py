"""The plan's rules, one by one, on the smallest scenes that show them."""

from __future__ import annotations

from dataclasses import replace

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan import (
    Contention,
    GiveWay,
    Keep,
    Lease,
    LeaseState,
    Leave,
    Pause,
    Plan,
    Reason,
    Refusal,
    Refuse,
    Settings,
    Take,
    Ticket,
    Wait,
    plan,
)

NOW = 5000.0
# C is 60 s between any two: A is 180 s, a turn hold 15 s, a stay 90 s.
COST = 60.0


PLAIN = Settings()


def made(
    leases: list[Lease], tickets: list[Ticket], settings: Settings = PLAIN, budget: int = 10
) -> Plan:
    return plan(budget, leases, tickets, settings, NOW)


def ready(name: str, memory: int = 6, *, idle: float | None = None, age: float = 900.0) -> Lease:
    """A holder that has been ready for *age*: idle for a time, or busy."""
    return Lease(
        name, memory, LeaseState.READY, 0 if idle is not None else 1, NOW - age, cost=COST,
        baseline=0, ready_since=NOW - age, idle_since=None if idle is None else NOW - idle,
    )  # fmt: skip


def waits(name: str, memory: int = 6, *, age: float = 1.0, priority: int = 0) -> Ticket:
    return Ticket(name, memory, NOW - age, priority, cost=COST, start=55.0)


# 1 and 2: the budget, and those that fit together.


def test_first_ticket_takes_and_the_next_looks_again() -> None:
    result = made([], [waits("late", 3, age=1), waits("early", 3, age=2)])

    assert result.waiters["early"] == Take()
    assert isinstance(result.waiters["late"], Wait)


def test_next_takes_when_the_engine_before_it_initialises() -> None:
    about_to = Lease("a", 3, LeaseState.STARTING, 1)

    assert isinstance(made([about_to], [waits("b", 3)]).waiters["b"], Wait)
    initialises = replace(about_to, baseline=0)
    assert made([initialises], [waits("b", 3)]).waiters["b"] == Take()


def test_who_fits_beside_the_others_makes_nobody_go() -> None:
    result = made([ready("a", 6, idle=3000)], [waits("b", 4)])

    assert result == Plan({"b": Take()}, {"a": Keep()})


def test_memory_that_is_not_known_is_all_there_is() -> None:
    assert isinstance(made([Lease("a")], [waits("b", 1)]).waiters["b"], Wait)


def test_exclusive_needs_everybody_gone_and_then_has_it_all() -> None:
    exclusive = replace(waits("x", 2), lifecycle=Lifecycle.EXCLUSIVE)
    result = made([ready("a", 2, idle=20), ready("b", 2, idle=20)], [exclusive])

    assert result.holders == {"a": GiveWay("x"), "b": GiveWay("x")}
    holder = replace(ready("x", 2), lifecycle=Lifecycle.EXCLUSIVE)
    assert isinstance(made([holder], [waits("a", 1)]).waiters["a"], Wait)


# 3: the order, and who passes.


def test_those_ahead_are_named_with_the_holder_last() -> None:
    result = made([ready("holder")], [waits("b", age=2), waits("a", age=3)])

    assert result.waiters["a"] == Wait(1, ("holder",), NOW - 3 + 180)
    assert result.waiters["b"] == Wait(2, ("a", "holder"))


def test_priority_goes_before_those_that_have_not_waited_long() -> None:
    important = waits("z", age=1, priority=1)

    assert made([], [waits("a", age=50), important]).waiters["z"] == Take()
    assert made([], [waits("a", age=100), important]).waiters["a"] == Take()


def test_short_helper_passes_where_it_fits_beside_the_first() -> None:
    result = made([ready("hot", 6)], [waits("big", 8, age=100), waits("small", 2, age=1)])

    assert result.waiters["small"] == Take()


def test_what_would_delay_the_first_does_not_pass() -> None:
    first = waits("big", 9, age=100)
    # Neither what leaves it no room when its turn comes, nor what starts for long.
    assert isinstance(made([ready("hot", 6)], [first, waits("small", 2)]).waiters["small"], Wait)
    first = waits("big", 8, age=100)
    slow = replace(waits("slow", 2), start=300.0)
    assert isinstance(made([ready("hot", 6)], [first, slow]).waiters["slow"], Wait)


# 4 and 5: idle and busy holders.


def test_idle_holder_goes_after_its_turn_hold() -> None:
    assert made([ready("a", idle=14)], [waits("b")]).holders == {"a": Keep()}
    assert made([ready("a", idle=16)], [waits("b")]).holders == {"a": GiveWay("b")}


def test_least_recently_used_goes_and_only_as_many_as_needed() -> None:
    leases = [ready("a", 3, idle=40), ready("b", 3, idle=60), ready("c", 3, idle=50)]

    assert made(leases, [waits("d", 4)]).holders == {"a": Keep(), "b": GiveWay("d"), "c": Keep()}


def test_memory_that_is_coming_needs_no_second_victim() -> None:
    going = Lease("a", 5, LeaseState.YIELDING)

    assert made([going, ready("b", 5, idle=100)], [waits("c", 5)]).holders["b"] == Keep()


def test_nobody_goes_while_another_who_has_to_cannot() -> None:
    leases = [ready("idle", 3, idle=100), ready("hot", 6)]

    assert made(leases, [waits("b", 9, age=100)]).holders == {"idle": Keep(), "hot": Keep()}


def test_nobody_goes_while_an_engine_initialises() -> None:
    starts = Lease("s", 2, LeaseState.STARTING, 1, baseline=0)

    assert made([starts, ready("a", 6, idle=100)], [waits("b", 6)]).holders["a"] == Keep()


def test_busy_holder_goes_when_the_waiter_is_old_enough() -> None:
    assert made([ready("a")], [waits("b", age=179)]).holders == {"a": Keep()}
    assert made([ready("a")], [waits("b", age=181)]).holders == {"a": GiveWay("b", Reason.AGED)}


def test_cost_is_what_both_cost_together() -> None:
    slow = replace(ready("a"), cost=660.0)  # C is 360 s, A 1080 s

    assert made([slow], [waits("b", age=1079)]).holders == {"a": Keep()}
    assert made([slow], [waits("b", age=1081)]).holders == {"a": GiveWay("b", Reason.AGED)}


def test_pace_makes_all_times_shorter() -> None:
    quick = replace(ready("a", idle=2), cost=1.0)
    ticket = replace(waits("b"), cost=1.0)

    assert made([quick], [ticket], Settings(pace=1.0)).holders == {"a": Keep()}
    assert made([quick], [ticket], Settings(pace=0.1)).holders == {"a": GiveWay("b", Reason.IDLE)}


# 6: who has just become ready.


def test_holder_stays_for_those_who_were_held_when_it_became_ready() -> None:
    fresh = replace(ready("a", age=170), held=1)

    assert made([fresh], [waits("b", age=1000)]).holders == {"a": Keep()}
    served = replace(fresh, held=0)
    assert made([served], [waits("b", age=1000)]).holders["a"] == GiveWay("b", Reason.AGED)
    too_long = replace(ready("a", age=181), held=1)
    assert made([too_long], [waits("b", age=1000)]).holders["a"] == GiveWay("b", Reason.AGED)


def test_holder_that_is_used_serves_for_longer_than_the_switch_took() -> None:
    # Also in the pauses of an agent, which are shorter than the turn hold.
    for fresh in (ready("a", age=89), ready("a", age=89, idle=5)):
        assert made([fresh], [waits("b", age=1000)]).holders == {"a": Keep()}
    assert made([ready("a", age=91)], [waits("b", age=1000)]).holders["a"] != Keep()


# 7: clients that give up.


def test_ticket_keeps_its_place_for_two_minutes() -> None:
    away = replace(waits("b", age=1000), abandoned_at=NOW - 119)
    result = made([ready("a")], [away, waits("c", age=999)])

    assert result.waiters["b"] == Wait(1, ("a",), NOW - 1000 + 180)
    assert result.holders == {"a": Keep()}  # nobody goes for it meanwhile
    gone = replace(away, abandoned_at=NOW - 120)
    assert made([ready("a")], [gone]).waiters == {"b": Leave()}


def test_nothing_is_started_while_nobody_waits_and_what_comes_back_is_first() -> None:
    away = replace(waits("b", age=1000), abandoned_at=NOW - 1)
    later = waits("c", age=999)

    result = made([], [away, later])
    assert result.waiters == {"b": Wait(1, ()), "c": Wait(2, ("b",))}
    assert made([], [replace(away, abandoned_at=None), later]).waiters["b"] == Take()


def test_who_fits_beside_a_place_that_is_kept_need_not_wait_for_nobody() -> None:
    away = replace(waits("b", age=1000), abandoned_at=NOW - 1)
    slow = replace(waits("c", 4), start=300.0)

    assert made([], [away, slow]).waiters["c"] == Take()
    assert isinstance(made([], [away, replace(slow, memory=5)]).waiters["c"], Wait)
    # It has no claim on what others wait for either.
    assert isinstance(made([], [waits("a"), replace(away, memory=1)]).waiters["b"], Wait)


# 8: what cannot be waited for.


def test_who_never_goes_is_named_with_the_end_that_is_known() -> None:
    training = Lease("training", 6, LeaseState.READY, foreign=True, until=NOW + 600)
    short = Lease("short", 1, LeaseState.READY, foreign=True, until=NOW + 60)
    refused = made([training, short], [waits("b", 5)]).waiters["b"]

    assert refused == Refuse(Refusal.HELD, ("short", "training"), NOW + 600)
    pinned = replace(ready("p", 6, idle=1000), pinned=True)
    assert made([pinned], [waits("b", 5)]).waiters["b"] == Refuse(Refusal.HELD, ("p",))
    assert made([], [waits("b", 11)]).waiters["b"] == Refuse(Refusal.TOO_BIG)


def test_pause_sends_everybody_away() -> None:
    pause = Settings(pause=Pause(until=NOW + 60))
    foreign = Lease("f", 1, LeaseState.READY, foreign=True)
    result = made([ready("a"), foreign], [waits("b")], pause)

    assert result.waiters == {"b": Refuse(Refusal.PAUSED, ("pause",), NOW + 60)}
    assert result.holders == {"a": GiveWay("pause", Reason.PAUSED), "f": Keep()}
    over = Settings(pause=Pause(until=NOW))
    assert made([], [waits("b")], over).waiters == {"b": Take()}


# 9: contention.


def test_with_reject_nobody_waits_for_a_busy_holder_but_idle_ones_go() -> None:
    reject = Settings(contention=Contention.REJECT)

    refused = Refuse(Refusal.BUSY, ("a",))
    assert made([ready("a")], [waits("b")], reject).waiters == {"b": refused}
    idle = made([ready("a", idle=100)], [waits("b")], reject)
    assert idle.holders == {"a": GiveWay("b")}
    assert isinstance(idle.waiters["b"], Wait)


# Utilities.


def test_utility_goes_for_an_exclusive_model_alone() -> None:
    utility = replace(ready("u", 2, idle=0), lifecycle=Lifecycle.UTILITY)

    assert made([utility], [waits("b", 9)]).waiters["b"] == Refuse(Refusal.HELD, ("u",))
    exclusive = replace(waits("x"), lifecycle=Lifecycle.EXCLUSIVE)
    assert made([utility], [exclusive]).holders == {"u": GiveWay("x")}


def test_utility_that_comes_back_is_first_and_makes_nobody_go() -> None:
    back = replace(waits("u", 2, age=1), lifecycle=Lifecycle.UTILITY, returning=True)

    assert made([], [back, waits("a", 6, age=500)]).waiters["u"] == Take()
    assert made([ready("x", 10, idle=500)], [back]).holders == {"x": Keep()}
    # It would only have to go again.
    exclusive = replace(waits("x"), lifecycle=Lifecycle.EXCLUSIVE)
    assert made([], [back, exclusive]).waiters["x"] == Take()


# What goes on already.


def test_states_under_way_are_sticky() -> None:
    for state in set(LeaseState) - {LeaseState.READY}:
        holder = Lease("a", 6, state, since=0)
        assert made([holder], [waits("b", age=4000)]).holders == {"a": Keep()}


def test_model_whose_engine_goes_waits_for_itself() -> None:
    going = Lease("a", 6, LeaseState.STOPPING)

    assert made([going], [waits("a")]).waiters == {"a": Wait(1, ("a",))}
    assert made([ready("a", 6, idle=500)], [waits("a")]).holders == {"a": Keep()}

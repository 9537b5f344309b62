"""What holds for every scene that the plan can be asked about, reached by a history or not."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from search import SEARCH

from spark_activator.catalog.model import Lifecycle
from spark_activator.runner.plan import (
    Contention,
    GiveWay,
    Keep,
    Lease,
    LeaseState,
    Pause,
    Plan,
    Settings,
    Take,
    Ticket,
    Wait,
    plan,
)

BUDGET = 10
NOW = 10_000.0
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
MEMORY = st.none() | st.integers(0, 12)
AGES = st.sampled_from([0.0, 5.0, 30.0, 61.0, 200.0, 1300.0])
STAMPS = AGES.map(lambda age: NOW - age)
COSTS = st.none() | st.sampled_from([0.0, 40.0, 300.0, 900.0])
LEASES = st.lists(
    st.builds(
        Lease,
        NAMES,
        MEMORY,
        st.sampled_from(LeaseState),
        st.integers(0, 2),
        STAMPS,
        baseline=st.none() | st.just(1),
        lifecycle=st.sampled_from(Lifecycle),
        pinned=st.booleans(),
        foreign=st.booleans(),
        until=st.none() | STAMPS | st.just(NOW + 60),
        cost=COSTS,
        ready_since=st.none() | STAMPS,
        idle_since=st.none() | STAMPS,
        held=st.integers(0, 1),
    ),
    unique_by=lambda lease: lease.model,
)
TICKETS = st.lists(
    st.builds(
        Ticket,
        NAMES,
        MEMORY,
        STAMPS,
        st.integers(0, 1),
        st.sampled_from(Lifecycle),
        COSTS,
        COSTS,
        st.none() | STAMPS,
        st.booleans(),
    ),
    unique_by=lambda ticket: ticket.model,
)
SETTINGS = st.builds(
    Settings, st.sampled_from(Contention), st.none() | st.just(Pause(NOW + 5)), st.just(1.0)
)


@SEARCH
@given(LEASES, TICKETS, SETTINGS, st.randoms(use_true_random=False))
def test_the_plan_is_the_same_whoever_makes_it(
    leases: list[Lease], tickets: list[Ticket], settings: Settings, order: random.Random
) -> None:
    before = plan(BUDGET, leases, tickets, settings, NOW)
    order.shuffle(leases)
    order.shuffle(tickets)

    assert plan(BUDGET, leases, tickets, settings, NOW) == before


@SEARCH
@given(LEASES, TICKETS, SETTINGS)
def test_everyone_has_a_step_and_nobody_takes_what_is_not_there(
    leases: list[Lease], tickets: list[Ticket], settings: Settings
) -> None:
    made = plan(BUDGET, leases, tickets, settings, NOW)

    assert set(made.waiters) == {ticket.model for ticket in tickets}
    assert set(made.holders) == {lease.model for lease in leases}
    takers = [ticket for ticket in tickets if isinstance(made.waiters[ticket.model], Take)]
    assert len(takers) <= 1
    for ticket in takers:
        whole = Lifecycle.EXCLUSIVE in (ticket.lifecycle, *(one.lifecycle for one in leases))
        assert not (whole and leases)
        memory = [ticket.memory, *(one.memory for one in leases)]
        used = [BUDGET if one is None else one for one in memory]
        assert sum(used) <= BUDGET


@SEARCH
@given(LEASES, TICKETS, SETTINGS)
def test_positions_count_those_that_wait(
    leases: list[Lease], tickets: list[Ticket], settings: Settings
) -> None:
    made = plan(BUDGET, leases, tickets, settings, NOW)

    if settings.pause is None:
        waits = [step for step in made.waiters.values() if isinstance(step, Wait)]
        positions = sorted(step.position for step in waits)
        # One that takes may stand between them.
        assert positions in (
            list(range(1, len(waits) + 1)),
            *(
                [place for place in range(1, len(waits) + 2) if place != taken]
                for taken in range(1, len(waits) + 2)
            ),
        )


IDLE = st.lists(
    st.tuples(st.integers(1, 5), st.integers(200, 4000)),
    min_size=1, max_size=5, unique_by=lambda one: one[1],
)  # fmt: skip


@SEARCH
@given(IDLE, st.integers(1, 10), st.permutations("abcde"))
def test_the_least_recently_used_go_and_no_more_than_needed(
    idle: list[tuple[int, int]], need: int, names: list[str]
) -> None:
    leases = [
        Lease(name, memory, LeaseState.READY, since=NOW - ago, cost=40.0)
        for name, (memory, ago) in zip(names, idle, strict=False)
    ]
    used = sum(lease.memory or 0 for lease in leases)
    ticket = Ticket("new", need, NOW, cost=40.0)
    made = plan(max(used, need), leases, [ticket], Settings(), NOW)

    gone = [one for one in leases if isinstance(made.holders[one.model], GiveWay)]
    room = max(used, need) - used + sum(one.memory or 0 for one in gone)
    assert room >= need
    for one in gone:
        assert room - (one.memory or 0) < need
        for other in leases:
            if other not in gone and (other.memory or 0) >= (one.memory or 0):
                assert other.since >= one.since


@SEARCH
@given(LEASES, SETTINGS)
def test_nobody_goes_where_nobody_waits(leases: list[Lease], settings: Settings) -> None:
    made: Plan = plan(BUDGET, leases, [], settings, NOW)

    if settings.pause is None:
        assert set(made.holders.values()) <= {Keep()}

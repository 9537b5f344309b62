"""The plan: who takes, who waits, who goes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from spark_activator.runner.plan import (
    GiveWay,
    Keep,
    Lease,
    LeaseState,
    Plan,
    Settings,
    Take,
    Ticket,
    Wait,
    plan,
)


def made(leases: list[Lease], tickets: list[Ticket]) -> Plan:
    return plan(leases, tickets, Settings(), 100.0)


def test_first_ticket_takes_the_free_gpu() -> None:
    result = made([], [Ticket("late", since=2), Ticket("early", since=1)])

    assert result.waiters == {"early": Take(), "late": Wait(2, ("early",))}


def test_those_ahead_are_named_with_the_holder_last() -> None:
    holder = Lease("holder", state=LeaseState.READY, in_flight=1)
    result = made([holder], [Ticket("b", since=2), Ticket("a", since=1)])

    assert result.waiters["b"] == Wait(2, ("a", "holder"))
    assert result.holders == {"holder": Keep()}


def test_idle_holder_gives_way_and_busy_one_does_not() -> None:
    waiting = [Ticket("b", since=1)]

    assert made([Lease("a", state=LeaseState.READY)], waiting).holders == {"a": GiveWay("b")}
    busy = Lease("a", state=LeaseState.READY, in_flight=1)
    assert made([busy], waiting).holders == {"a": Keep()}


def test_idle_holder_keeps_when_nobody_else_waits() -> None:
    idle = Lease("a", state=LeaseState.READY)

    assert made([idle], []).holders == {"a": Keep()}
    # Its own next activation is no reason to end this one.
    assert made([idle], [Ticket("a", since=1)]).holders == {"a": Keep()}


def test_states_under_way_are_sticky() -> None:
    waiting = [Ticket("b", since=1)]
    for state in set(LeaseState) - {LeaseState.READY}:
        assert made([Lease("a", state=state)], waiting).holders == {"a": Keep()}


def test_model_whose_engine_goes_waits_for_itself() -> None:
    going = Lease("a", state=LeaseState.STOPPING)

    assert made([going], [Ticket("a", since=1)]).waiters == {"a": Wait(1, ("a",))}


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
LEASES = st.lists(
    st.builds(Lease, NAMES, state=st.sampled_from(LeaseState), in_flight=st.integers(0, 2)),
    unique_by=lambda lease: lease.model,
)
TICKETS = st.lists(
    st.builds(Ticket, NAMES, since=st.floats(0, 3)), unique_by=lambda ticket: ticket.model
)


@given(LEASES, TICKETS)
def test_never_two_on_the_gpu_and_everyone_has_a_step(
    leases: list[Lease], tickets: list[Ticket]
) -> None:
    result = made(leases, tickets)

    taking = [step for step in result.waiters.values() if step == Take()]
    assert len(taking) + len(leases) <= max(1, len(leases))
    assert set(result.waiters) == {ticket.model for ticket in tickets}
    assert set(result.holders) == {lease.model for lease in leases}
    if not leases and tickets:
        assert taking


@given(LEASES, TICKETS, st.randoms(use_true_random=False))
def test_order_of_looking_does_not_matter(
    leases: list[Lease], tickets: list[Ticket], order: random.Random
) -> None:
    before = made(leases, tickets)
    order.shuffle(leases)
    order.shuffle(tickets)

    assert made(leases, tickets) == before


@given(TICKETS)
def test_positions_are_one_to_n_in_order_of_age(tickets: list[Ticket]) -> None:
    holder = Lease("z", state=LeaseState.READY, in_flight=1)
    waits = made([holder], tickets).waiters
    positions = {name: step.position for name, step in waits.items() if isinstance(step, Wait)}

    assert sorted(positions.values()) == list(range(1, len(tickets) + 1))
    for one in tickets:
        for other in tickets:
            if one.since < other.since:
                assert positions[one.model] < positions[other.model]

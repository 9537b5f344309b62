"""Runners that cannot be reached: on a clock that jumps, behind a real socket."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from spark_activator.activator.demand import Demand
from spark_activator.activator.idle import IdleClock
from spark_activator.activator.patience import LOST_LIMIT, SILENCE_LIMIT, STEADY, Patience
from spark_activator.errors import Refusal
from spark_activator.layout import Layout
from spark_activator.protocol import Queued, Stopping
from spark_activator.protocol_json import encode

# The longest pause of systemd between two starts (units/v254), and a start.
BACK_OFF = 5.0 + 1.0


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path, tmp_path, tmp_path, tmp_path)
    layout.runner_socket("story").parent.mkdir()
    return layout


@pytest.fixture
def backlog(layout: Layout) -> Iterator[socket.socket]:
    """The runner's socket as systemd has it while no runner is there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(layout.runner_socket("story")))
        listener.listen()
        yield listener


def demand_of(layout: Layout) -> tuple[Demand, IdleClock]:
    clock = IdleClock(60.0, trio.current_time())
    return Demand("story", layout, clock, lambda: None), clock


async def test_runner_that_never_accepts_is_refused_and_asked_again(
    layout: Layout,
    backlog: socket.socket,
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
) -> None:
    demand, clock = demand_of(layout)
    nursery.start_soon(demand.run)
    for _ in range(2):
        before = trio.current_time()
        with demand.request(), pytest.raises(Refusal) as refused:
            await demand.wait_ready()
        assert refused.value.code == "runner_unavailable"
        assert refused.value.retry_after == 5
        assert BACK_OFF < trio.current_time() - before <= SILENCE_LIMIT + 1
        assert not clock.demanded  # so that the process may leave


async def test_runner_that_accepts_and_ends_slowly_is_not_waited_for_any_longer(
    layout: Layout,
    backlog: socket.socket,
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
) -> None:
    async def crash_after_a_while() -> None:
        while True:
            await trio.sleep(5)
            backlog.accept()[0].close()

    demand, _clock = demand_of(layout)
    nursery.start_soon(demand.run)
    nursery.start_soon(crash_after_a_while)
    with demand.request(), pytest.raises(Refusal):
        await demand.wait_ready()
    assert trio.current_time() <= SILENCE_LIMIT + 1


async def test_runner_that_speaks_is_waited_for_however_slow_it_is(
    layout: Layout,
    backlog: socket.socket,
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
) -> None:
    demand, _clock = demand_of(layout)
    nursery.start_soon(demand.run)
    with demand.request(), trio.move_on_after(200) as held:
        async with trio.open_nursery() as waiting:
            waiting.start_soon(demand.wait_ready)
            await trio.sleep(BACK_OFF)
            runner, _ = backlog.accept()
            runner.send(encode(Queued(1, ("other",))))
    assert held.cancelled_caught
    runner.close()


async def test_runner_that_was_told_to_stop_may_take_its_time(
    layout: Layout,
    backlog: socket.socket,
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
) -> None:
    demand, _clock = demand_of(layout)
    nursery.start_soon(demand.run)
    with demand.request(), trio.move_on_after(200) as held:
        async with trio.open_nursery() as waiting:
            waiting.start_soon(demand.wait_ready)
            await trio.sleep(1)
            runner, _ = backlog.accept()
            runner.send(encode(Stopping()))
    assert held.cancelled_caught
    runner.close()


async def test_who_is_served_keeps_asking_for_a_runner_that_is_gone(
    layout: Layout,
    backlog: socket.socket,
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
) -> None:
    # One that comes back keeps the engine for 30 s only, unless somebody says more.
    demand, clock = demand_of(layout)
    nursery.start_soon(demand.run)
    with demand.request():
        clock.demand_began()
        with demand.serving():
            await trio.sleep(4 * SILENCE_LIMIT)
            assert clock.demanded
        await trio.sleep(2 * SILENCE_LIMIT)
        assert not clock.demanded


def test_ten_quick_ends_are_enough_whatever_was_said_before_each() -> None:
    patience, now, pauses = Patience(), 0.0, []
    while not patience.exhausted(now):
        patience.opened(now)
        patience.heard(stopping=False)
        patience.lost(now)
        pauses.append(patience.next_at - now)
        now = patience.next_at

    assert len(pauses) == LOST_LIMIT
    assert min(pauses) > 0  # never a tight loop
    assert now < SILENCE_LIMIT


def test_runner_that_was_there_for_long_may_end_again_and_again() -> None:
    patience, now = Patience(), 0.0
    for _ in range(5 * LOST_LIMIT):
        patience.opened(now)
        patience.heard(stopping=False)
        now += STEADY
        patience.lost(now)
        assert not patience.exhausted(now)
    assert patience.deadline == math.inf

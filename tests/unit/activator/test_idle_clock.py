"""When the activator leaves, decided without a clock."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from spark_activator.activator.idle import LINGER, IdleClock
from spark_activator.activator.words import sentence
from spark_activator.protocol import Queued, Ready, Starting, Yield


def serving(*, ready_at: float, timeout: float = 60.0) -> IdleClock:
    clock = IdleClock(timeout, 0.0)
    clock.request_began()
    clock.demand_began()
    clock.model_ready(ready_at)
    return clock


def test_process_that_nobody_reached_leaves_soon() -> None:
    assert IdleClock(60.0, 100.0).leave_at == 100.0 + LINGER


def test_nobody_leaves_while_a_request_is_in_flight() -> None:
    assert serving(ready_at=10.0).leave_at == math.inf


def test_idle_time_starts_when_the_last_request_ends() -> None:
    clock = serving(ready_at=10.0)
    clock.request_began()
    clock.request_ended(20.0)
    assert clock.leave_at == math.inf
    clock.request_ended(30.0)
    assert clock.leave_at == 90.0


def test_idle_time_starts_at_ready_although_the_client_has_left() -> None:
    # The client that asked can hang up during a load of ten minutes.
    clock = IdleClock(60.0, 0.0)
    clock.request_began()
    clock.demand_began()
    clock.request_ended(5.0)
    assert clock.leave_at == math.inf
    clock.model_ready(600.0)
    assert clock.leave_at == 660.0


def test_model_that_failed_is_not_waited_for() -> None:
    clock = IdleClock(3600.0, 0.0)
    clock.request_began()
    clock.demand_began()
    clock.demand_ended()
    clock.request_ended(7.0)
    assert clock.leave_at == 7.0 + LINGER


def test_model_given_away_is_not_kept_for() -> None:
    clock = serving(ready_at=10.0, timeout=3600.0)
    clock.request_ended(20.0)
    clock.demand_ended()
    assert clock.leave_at == 20.0 + LINGER


def test_model_that_is_always_kept_never_leaves() -> None:
    clock = serving(ready_at=10.0, timeout=math.inf)
    clock.request_ended(20.0)
    assert clock.leave_at == math.inf


EVENTS = st.lists(st.sampled_from(["request", "end", "demand", "ready", "gone"]), max_size=30)


@given(EVENTS)
def test_it_can_leave_exactly_when_nothing_is_in_flight_and_nothing_loads(
    events: list[str],
) -> None:
    clock = IdleClock(60.0, 0.0)
    loading = False
    for now, event in enumerate(events):
        if event == "request":
            clock.request_began()
        elif event == "end" and clock.in_flight:
            clock.request_ended(float(now))
        elif event == "demand":
            clock.demand_began()
            loading = True
        elif event == "ready":
            clock.model_ready(float(now))
            loading = False
        elif event == "gone":
            clock.demand_ended()
            loading = False

    assert math.isfinite(clock.leave_at) == (not clock.in_flight and not loading)


def test_status_says_what_is_waited_for() -> None:
    queued = Queued(2, ("qwen3", "gpt-oss"), 90.0)
    assert (
        sentence(queued, in_flight=3, waiting=3)
        == "queued: position 2, behind qwen3, gpt-oss, about 90 s left, 3 held"
    )
    weights = Starting("weights", 0.456, 42.0)
    assert sentence(weights, in_flight=1, waiting=1) == (
        "starting: weights 46%, about 42 s left, 1 held"
    )
    assert sentence(Ready("0a0b0c0d"), in_flight=3, waiting=1) == "ready, 1 held, 2 being answered"
    assert sentence(Ready("0a0b0c0d"), in_flight=0, waiting=0) == "ready"
    assert sentence(None, in_flight=0, waiting=0) == "model not asked for"
    assert sentence(Yield("'x' waits"), in_flight=1, waiting=0) == (
        "giving the model away: 'x' waits, 1 being answered"
    )


def test_touch_restarts_the_idle_time() -> None:
    clock = IdleClock(60.0, 0.0)
    clock.demand_began()
    clock.model_ready(10.0)
    clock.touched(30.0)
    assert clock.leave_at == 90.0


def test_who_is_dismissed_leaves_at_once_unless_a_request_comes() -> None:
    clock = IdleClock(math.inf, 0.0)
    clock.demand_began()
    clock.model_ready(10.0)
    clock.dismissed()
    assert clock.leave_at == -math.inf
    clock.request_began()
    clock.request_ended(20.0)
    assert clock.leave_at == math.inf

"""Models of real containers share the GPU by the nine rules, as a person would see it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ledger import (
    ask_together,
    boottime,
    engines_watched,
    facts,
    forget,
    history,
    idle_since,
    last,
    never_two,
)
from stack import Demo, Stack, finish, wait_for_stream

QUICK = ("--load-time", "1", "--tokens-per-second", "40")
# Each takes a budget of its own, 256 MiB.  None leaves because it is idle.
A = Demo("share-a", 18341, QUICK, idle=600)
B = Demo("share-b", 18342, QUICK, idle=600)
UTILITY = Demo(
    "share-utility", 18343, QUICK, idle=600, extra={"lifecycle": "utility", "keep": "always"}
)
EXCLUSIVE = Demo("share-exclusive", 18344, QUICK, idle=2, extra={"lifecycle": "exclusive"})
PINNED = Demo("share-pinned", 18345, QUICK, idle=1, extra={"keep": "always"})
# A switch costs 300 s where there is no measure; see docs/scheduling.md for the rest.
ASSUMED, HOLD, AGE = 300.0, 0.25, 3.0
# How late a runner may be that looks each second, and processes that start, on a busy machine.
LATE = 10.0


@pytest.fixture(autouse=True)
def nothing_measured(stack: Stack) -> None:
    forget(stack, A, B, UTILITY, EXCLUSIVE, PINNED)


def started(stack: Stack, model: Demo) -> None:
    [told] = stack.ask(model.url, model.name)
    assert told["ended"] == "complete"


def test_what_fits_together_runs_together(stack: Stack) -> None:
    with stack.sharing("512MiB"), stack.enabled(A, B):
        first = stack.asking(A.url, A.name, "--max-tokens", "400")
        wait_for_stream(first)
        started(stack, B)

        assert stack.lease_held(A.name)
        assert stack.lease_held(B.name)
        assert len(stack.containers(A.name) + stack.containers(B.name)) == 2
        [told] = finish(first)
        assert told["ended"] == "complete"
        # Nobody went: they are still there.
        assert all(fact.what != "drains" for fact in facts(stack, A.name)[-4:])


def test_an_idle_model_goes_after_its_turn_hold(stack: Stack) -> None:
    pace = 0.05
    with stack.sharing(pace=str(pace)), stack.enabled(A, B):
        started(stack, A)
        idle = idle_since(stack, A.name)
        started(stack, B)

        drains = last(stack, A.name, "drains")
        assert drains.values["in_flight"] == "0"
        hold = HOLD * ASSUMED * pace
        # For one that is not idle B would have waited twelve times as long.
        assert hold - 0.2 < drains.at - idle < hold + LATE
        assert stack.containers(A.name) == []
        [ended] = history(stack, A.name)
        assert (ended["why"], ended["words"]) == ("another model waits", "'share-b' waits")


def test_a_hot_model_keeps_serving_until_the_waiter_is_old_enough(stack: Stack) -> None:
    pace = 0.01
    with stack.sharing(pace=str(pace)), stack.enabled(A, B):
        # Each takes a second and two come a second: it is never idle.
        hot = stack.asking(A.url, A.name, "--count", "40", "--every", "0.5", "--max-tokens", "40")
        wait_for_stream(hot)
        [waited] = stack.ask(B.url, B.name, "--max-tokens", "4")
        served = finish(hot, timeout=180)

        age = AGE * ASSUMED * pace
        [stop] = [one["stop"] for one in history(stack, A.name)[:1]]
        start = last(stack, B.name, "initialised").at - last(stack, B.name, "lease taken").at
        assert waited["ended"] == "complete"
        # What is in flight then takes a second.
        assert age - 0.2 < waited["first"] < age + 1 + stop + start + LATE
        # It served and admitted all the time; who came too late waited for its next turn.
        assert [one["ended"] for one in served] == ["complete"] * 40
        assert last(stack, A.name, "lease taken").at > last(stack, B.name, "lease taken").at


def test_an_exclusive_model_has_all_and_the_utility_comes_back(stack: Stack) -> None:
    with stack.sharing("768MiB"), stack.enabled(A, UTILITY, EXCLUSIVE):
        started(stack, UTILITY)
        started(stack, A)
        assert stack.lease_held(UTILITY.name)

        exclusive = stack.asking(EXCLUSIVE.url, EXCLUSIVE.name, "--max-tokens", "400")
        wait_for_stream(exclusive)
        assert stack.containers(A.name) + stack.containers(UTILITY.name) == []
        assert not stack.lease_held(UTILITY.name)
        [told] = finish(exclusive)
        assert told["ended"] == "complete"

        # Nobody asks for it.
        stack.node.wait(f"! systemctl is-active -q spark-runner@{EXCLUSIVE.name}")
        stack.wait_for_phase(UTILITY.name, "ready")
        gone = last(stack, EXCLUSIVE.name, "lease freed").at
        assert last(stack, UTILITY.name, "initialised").at - gone < 30
        assert stack.containers(A.name) == []


def test_a_model_that_is_always_kept_goes_for_nobody(stack: Stack) -> None:
    since = stack.node.exec("date +%s").out.strip()
    with stack.sharing(), stack.enabled(PINNED, B):
        started(stack, PINNED)
        [told] = stack.ask(B.url, B.name)

        assert (told["status"], told["error"]["code"]) == (503, "gpu_held")
        assert f"'{PINNED.name}'" in told["error"]["message"]
        # At once: it was in no queue.
        told_by_runner = f"journalctl --sync; journalctl -b -u spark-runner@{B.name} -o cat"
        journal = stack.node.exec(f"{told_by_runner} --since @{since}").out
        assert ("Started" in journal, "queued" in journal) == (True, False)
        # Also not because it is idle: it was, for longer than its second.
        stack.node.exec("sleep 2")
        assert stack.state(PINNED.name)["phase"] == "ready"


# A runner waits for half a minute for memory of which nothing comes back.
@pytest.mark.parametrize("kept", [pytest.param(4, marks=pytest.mark.long), 12])
def test_the_next_start_waits_for_the_memory_and_not_for_a_timer(stack: Stack, kept: int) -> None:
    large = Demo("share-large", 18348, ("--load-time", "10"), idle=600, extra={"memory": "2GiB"})
    held = "/run/share-held"
    since = stack.node.exec("date +%s").out.strip()
    with stack.sharing("2GiB"), stack.enabled(large, B):
        # A container's memory goes with it: a file in memory, made while it loads and
        # taken for its own, stands in for what a driver gives back later.
        client = stack.asking(large.url, large.name)
        stack.wait_for_phase(large.name, "weights")
        try:
            stack.node.exec(f"fallocate -l 2GiB {held}")
            [first] = finish(client)
            waiting = stack.asking(B.url, B.name)
            stack.wait_for_phase(large.name, "reclaiming")
            assert stack.containers(large.name) == []
            stack.node.exec(f"sleep {kept}")
            assert stack.state(large.name)["phase"] == "reclaiming"
            assert stack.containers(B.name) == []
            back = boottime(stack)
        finally:
            stack.node.exec(f"rm -f {held}")
        [told] = finish(waiting)

        assert (first["ended"], told["ended"]) == ("complete", "complete")
        taken = last(stack, B.name, "lease taken").at
        assert back < taken < back + LATE
        journal = f"journalctl --since @{since} -u spark-runner@{large.name}"
        stack.node.exec(f"! {journal} | grep 'not come back'")


@pytest.mark.parametrize(
    "rounds", [5, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
def test_storm_of_two_first_requests_in_the_same_millisecond(stack: Stack, rounds: int) -> None:
    one = Demo("storm-one", 18346, ("--tokens-per-second", "100"), idle=1)
    two = Demo("storm-two", 18347, ("--tokens-per-second", "100"), idle=1)
    with stack.sharing(pace="0.001"), stack.enabled(one, two):
        for _ in range(rounds):
            with engines_watched(stack, one, two) as seen:
                told = ask_together(stack, one, two)
                stack.wait_for_nothing(one.name, two.name)
            assert {ended["ended"] for ended in told.values()} == {"complete"}, told
            assert len(told) == 2
            assert sorted(seen) == sorted(
                (model.name, what) for model in (one, two) for what in ("create", "destroy")
            )
            assert never_two(seen), seen


@pytest.fixture(scope="module", autouse=True)
def nothing_left(stack: Stack) -> Iterator[None]:
    yield
    stack.node.exec("[ ! -e /etc/spark-activator/host.yaml ]")

"""Whatever is killed, at most one container, no orphan, and the next request is answered."""

from __future__ import annotations

import dataclasses

import pytest
from stack import Demo, Stack, finish, wait_for_stream

# Slow to load, so that a reload would show; slow to speak, so that it can be killed mid-stream.
# Idle for longer than it takes to look at what is left after an answer.
MODEL = Demo("kill-me", 18321, ("--load-time", "3", "--tokens-per-second", "20"), idle=10)
LONG_STREAM = ("--max-tokens", "400")


@pytest.fixture(scope="module", autouse=True)
def models(stack: Stack):
    with stack.enabled(MODEL):
        yield


@pytest.fixture(autouse=True)
def nothing_before(stack: Stack) -> None:
    stack.wait_for_nothing(MODEL.name)


def stays_at_one_container_and_ends_at_none(stack: Stack, model: Demo = MODEL) -> None:
    """A minute is what an orphan may live; the lease is free after it."""
    stack.wait_for_nothing(model.name, timeout=60)
    assert stack.containers(model.name) == []
    stack.wait_for_free_lease(model.name)


def test_activator_killed_mid_stream_costs_no_reload(stack: Stack) -> None:
    client = stack.asking(MODEL.url, MODEL.name, *LONG_STREAM)
    wait_for_stream(client)
    [before] = stack.containers(MODEL.name)

    killed = stack.kill(f"spark-model@{MODEL.name}.service")
    [told] = finish(client)
    [again] = stack.ask(MODEL.url, MODEL.name)

    assert told["ended"] == "cut"
    # At once, and not when the stream would have ended, after 20 s.
    assert told["at"] - killed < 10
    assert again["ended"] == "complete"
    assert stack.containers(MODEL.name) == [before]
    stays_at_one_container_and_ends_at_none(stack)


def test_activator_killed_and_nobody_comes_back(stack: Stack) -> None:
    client = stack.asking(MODEL.url, MODEL.name, *LONG_STREAM)
    wait_for_stream(client)

    stack.kill(f"spark-model@{MODEL.name}.service")
    finish(client)

    stays_at_one_container_and_ends_at_none(stack)


def test_runner_killed_while_serving_is_not_noticed(stack: Stack) -> None:
    client = stack.asking(MODEL.url, MODEL.name, "--max-tokens", "100")
    wait_for_stream(client)
    [before] = stack.containers(MODEL.name)

    stack.kill(f"spark-runner@{MODEL.name}.service")
    [told] = finish(client)
    [again] = stack.ask(MODEL.url, MODEL.name)

    assert told["ended"] == "complete"
    assert again["ended"] == "complete"
    assert stack.containers(MODEL.name) == [before]
    assert stack.lease_held(MODEL.name)
    stays_at_one_container_and_ends_at_none(stack)


def test_runner_killed_while_loading_loads_once(stack: Stack) -> None:
    # It loads for longer than it takes to find and to kill its runner.
    slow = dataclasses.replace(MODEL, name="kill-slow", port=18323, options=("--load-time", "12"))
    with stack.enabled(slow):
        client = stack.asking(slow.url, slow.name)
        stack.wait_for_phase(slow.name, "weights")
        [before] = stack.containers(slow.name)

        stack.kill(f"spark-runner@{slow.name}.service")
        [told] = finish(client)

        assert told["ended"] == "complete"
        assert stack.containers(slow.name) == [before]
        stays_at_one_container_and_ends_at_none(stack, slow)


def test_container_killed_mid_stream_is_started_again_by_the_next_request(stack: Stack) -> None:
    client = stack.asking(MODEL.url, MODEL.name, *LONG_STREAM)
    wait_for_stream(client)
    [before] = stack.containers(MODEL.name)

    stack.node.exec(f"docker kill {before}")
    [told] = finish(client)
    [again] = stack.ask(MODEL.url, MODEL.name)

    assert told["ended"] == "cut"
    assert again["ended"] == "complete"
    [after] = stack.containers(MODEL.name)
    assert after != before
    stays_at_one_container_and_ends_at_none(stack)


def test_docker_away_is_an_honest_503_and_mends_itself(stack: Stack) -> None:
    stack.node.exec("systemctl stop docker.socket docker.service")
    try:
        [told] = stack.ask(MODEL.url, MODEL.name)
    finally:
        stack.node.exec("systemctl start docker.socket docker.service")

    assert told["status"] == 503
    assert told["error"]["code"] == "docker_unavailable"
    assert int(told["retry_after"]) > 0
    [again] = stack.ask(MODEL.url, MODEL.name)
    assert again["ended"] == "complete"
    stays_at_one_container_and_ends_at_none(stack)


def test_engine_that_dies_at_start_is_a_503_and_its_last_words_are_in_the_journal(
    stack: Stack,
) -> None:
    broken = Demo(
        "kill-broken", 18322, ("--exit-at-start", "3", "--exit-message", "no such flag: --foo")
    )
    with stack.enabled(broken):
        [told] = stack.ask(broken.url, broken.name)
        told_by_runner = f"journalctl --sync; journalctl -u spark-runner@{broken.name} -o cat"
        journal = stack.node.exec(told_by_runner).out
        stack.wait_for_nothing(broken.name)

    assert (told["status"], told["error"]["code"]) == (503, "start_failed")
    assert "no such flag" not in told["error"]["message"]
    assert "no such flag: --foo" in journal


@pytest.mark.long
@pytest.mark.parametrize("victim", ["spark-model", "spark-runner"])
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 5.0])
def test_kill_at_any_moment(stack: Stack, victim: str, delay: float) -> None:
    client = stack.asking(MODEL.url, MODEL.name, "--max-tokens", "60")
    unit = f"{victim}@{MODEL.name}.service"
    stack.node.wait(f"systemctl is-active -q {unit}")
    stack.node.exec(f"sleep {delay}")

    stack.kill(unit)
    finish(client)
    [again] = stack.ask(MODEL.url, MODEL.name)

    assert again["ended"] == "complete"
    assert len(stack.containers(MODEL.name)) == 1
    stays_at_one_container_and_ends_at_none(stack)

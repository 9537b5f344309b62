"""Around the idle exit nobody is lost, and what is in flight is not idle."""

from __future__ import annotations

import pytest
from stack import Demo, Stack, finish, wait_for_stream

# A second is the shortest idle time there is: most connects come around an exit.
MODEL = Demo("idle-short", 18331, ("--tokens-per-second", "100"), idle=1)
PATIENT = Demo("idle-long", 18332, ("--tokens-per-second", "100"), idle=600)


@pytest.fixture(scope="module", autouse=True)
def models(stack: Stack):
    with stack.enabled(MODEL):
        yield


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.long)])
def test_connects_around_idle_exits_lose_none(stack: Stack, count: int) -> None:
    starts = f"journalctl -u spark-model@{MODEL.name} -o cat | grep -c '^Started'"
    before = int(stack.node.exec(starts, check=False).out)

    # Steps a little over the idle time: each connect meets another instant of an exit.
    told = stack.ask(
        MODEL.url, MODEL.name, "--count", str(count), "--every", "1.117", "--max-tokens", "4",
        timeout=60 + count * 4,
    )  # fmt: skip

    assert [one for one in told if one["ended"] != "complete"] == []
    assert len(told) == count
    # The connects really were around exits: on a busy machine a start takes so long that
    # several meet in it.
    assert int(stack.node.exec(starts).out) - before >= count // 8
    stack.wait_for_nothing(MODEL.name)


def test_a_stream_longer_than_the_idle_time_is_not_cut(stack: Stack) -> None:
    [told] = stack.ask(MODEL.url, MODEL.name, "--max-tokens", "500")

    assert told["took"] > 3 * MODEL.idle
    assert (told["ended"], told["events"] >= 500) == ("complete", True)
    stack.wait_for_nothing(MODEL.name)


def test_looking_does_not_keep_it_awake(stack: Stack) -> None:
    [told] = stack.ask(MODEL.url, MODEL.name, "--max-tokens", "4")
    assert told["ended"] == "complete"

    looking = f"curl -s -o /dev/null http://127.0.0.1:{MODEL.port}/health"
    with stack.meanwhile(looking):
        stack.node.wait(f'[ -z "$(docker ps -q --filter name=spark-{MODEL.name})" ]')


def test_a_thousand_clients_on_a_cold_model_are_one_start(stack: Stack) -> None:
    stack.wait_for_nothing(MODEL.name)
    since = stack.node.exec("date +%s.%N").out.strip()

    told = stack.ask(
        MODEL.url, MODEL.name, "--count", "1000", "--max-tokens", "8", "--timeout", "240",
        timeout=280,
    )  # fmt: skip

    assert [one for one in told if one["ended"] != "complete"] == []
    assert len({one["text"] for one in told}) == 1
    created = stack.node.exec(
        f"docker events --since {since} --until $(date +%s.%N) --filter event=create"
        f" --filter label=io.spark-activator.model={MODEL.name} --format '{{{{.ID}}}}'"
    ).out.split()
    assert len(created) == 1
    stack.wait_for_nothing(MODEL.name)


def test_a_client_that_leaves_mid_stream_ends_the_generation(stack: Stack) -> None:
    with stack.enabled(PATIENT):
        stays = stack.asking(PATIENT.url, PATIENT.name, "--max-tokens", "300")
        wait_for_stream(stays)

        # A quarter of an hour, where nobody leaves.
        [left] = stack.ask(
            PATIENT.url, PATIENT.name, "--max-tokens", "100000", "--leave-after", "5"
        )

        assert left["ended"] == "left"
        ended = 'finished_reason="abort"} 1'
        socket = f"$(find /run/spark-activator/upstream/{PATIENT.name} -name engine.sock)"
        stack.node.wait(
            f"curl -s --unix-socket {socket} http://engine/metrics | grep -qF '{ended}'"
        )
        [told] = finish(stays)
        assert told["ended"] == "complete"
        stack.node.exec(f"spark-model stop {PATIENT.name}")
        stack.wait_for_nothing(PATIENT.name)

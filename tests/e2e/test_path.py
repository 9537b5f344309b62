"""From a client's first byte to an answer and back to nothing running, by every way in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stack import FRONT, Demo, Stack, finish, wait_for_stream

# A stream may take its time to its end while the other one waits.
FIRST = Demo("path-first", 18311, ("--load-time", "2", "--tokens-per-second", "40"), drain=60)
SECOND = Demo("path-second", 18312, ("--load-time", "1", "--tokens-per-second", "40"))


@pytest.fixture(scope="module", autouse=True)
def models(stack: Stack):
    with stack.sharing(), stack.enabled(FIRST, SECOND):
        yield


@pytest.mark.parametrize("way", ["by path", "by body", "port"])
def test_streams_an_answer_from_cold_and_leaves_nothing(stack: Stack, way: str) -> None:
    stack.wait_for_nothing(FIRST.name)
    url = {"by path": FIRST.by_path, "by body": FRONT, "port": FIRST.url}[way]

    [told] = stack.ask(url, FIRST.name, "--max-tokens", "120")

    assert told["ended"] == "complete", told
    # Streamed, not buffered: 120 tokens take three seconds at 40 a second.
    assert told["took"] - told["first"] > 0.5
    stack.wait_for_nothing(FIRST.name)
    stack.wait_for_free_lease(FIRST.name)
    # Who looks after orphans or writes nginx's list leaves as well.
    stack.node.wait("! ps -eo args | grep -q '[s]park_activator[.]'")
    assert stack.node.exec("find /run/spark-activator/upstream -type s").out == ""


def test_a_large_request_is_read_by_a_process_in_the_same_sandbox(stack: Stack) -> None:
    asking = stack.asking(FIRST.url, FIRST.name, "--prompt", "x" * 100_000, "--max-tokens", "400")
    wait_for_stream(asking)

    worker = "/proc/$(pgrep -f '[p]olicy_worker')"
    found = stack.node.exec(
        f"cd {worker} && cat oom_score_adj && stat -c %U . && grep 'Max address space' limits"
        " && grep -E 'CapEff|NoNewPrivs|Seccomp:' status"
    ).out
    score, user, limits, *lines = found.splitlines()
    limit, sandbox = limits.split(), " ".join(lines).split()
    [told] = finish(asking)

    assert told["ended"] == "complete"
    assert (score, user) == ("1000", "spark-activator")
    assert sandbox[1::2] == ["0000000000000000", "1", "2"]
    assert limit[3] == str(2 << 30)
    stack.wait_for_nothing(FIRST.name)
    assert "policy_worker" not in stack.node.exec("ps -eo args").out


def test_the_second_model_waits_for_the_first_then_serves(stack: Stack) -> None:
    stack.wait_for_nothing(FIRST.name, SECOND.name)
    first = stack.asking(FIRST.url, FIRST.name, "--max-tokens", "600")
    wait_for_stream(first)

    second = stack.asking(SECOND.url, SECOND.name)
    stack.wait_for_phase(SECOND.name, "queued")
    waiting = stack.state(SECOND.name)
    [second_told] = finish(second)
    [first_told] = finish(first)

    assert waiting["ahead"] == [FIRST.name]
    assert waiting["position"] == 1
    assert first_told["ended"] == "complete"
    assert first_told["events"] >= 600
    assert second_told["ended"] == "complete"
    stack.wait_for_nothing(FIRST.name, SECOND.name)


def test_a_model_that_is_not_enabled_says_how(stack: Stack) -> None:
    [told] = stack.ask(FRONT, "demo-story")
    [unknown] = stack.ask(FRONT, "path-frist")

    assert told["status"] == 404
    assert "sudo spark-model enable demo-story" in told["error"]["message"]
    assert unknown["status"] == 404
    assert "path-first" in unknown["error"]["message"]


def test_the_list_follows_the_sockets_and_wakes_nothing(stack: Stack) -> None:
    listed = "curl -sf http://127.0.0.1:8009/v1/models"

    with stack.nothing_wakes(FIRST.name, SECOND.name):
        stack.node.wait(f"{listed} | grep -q path-second")
        stack.node.exec("systemctl stop spark-model@path-second.socket")
        stack.node.wait(f"{listed} | grep -q path-first && ! {listed} | grep -q path-second")
        stack.node.exec("systemctl start spark-model@path-second.socket")
        stack.node.wait(f"{listed} | grep -q path-second")


def test_debug_and_auto_look_at_what_runs(stack: Stack) -> None:
    stack.wait_for_nothing(FIRST.name, SECOND.name)
    base = "http://127.0.0.1:8009"

    def look(path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(stack.node.exec(f"curl -sf {base}{path}").out)
        return found

    assert look("/debug/state")["busyWith"] is None
    asking = stack.asking(FIRST.url, FIRST.name, "--max-tokens", "600")
    wait_for_stream(asking)
    runs = look("/debug/state")["busyWith"]
    listed = look(f"/v1/models/{FIRST.name}")
    [told] = stack.ask(FRONT, "auto", "--max-tokens", "5")
    started = look("/debug/state")["startAtMs"]
    finish(asking)

    assert (runs["name"], runs["state"], listed["state"]) == (FIRST.name, "ready", "ready")
    # The clock of the stamps can be read in nginx's sandbox.
    assert 0 <= runs["uptimeSec"] < 60
    assert told["ended"] == "complete"
    assert started.keys() == {FIRST.name}
    stack.wait_for_nothing(FIRST.name)
    assert look(f"/debug/gpu-stats/{FIRST.name}")["stats"]["sessions"] >= 1


def test_disable_now_leaves_nothing_even_while_it_serves(stack: Stack) -> None:
    third = Demo("path-third", 18313, ("--tokens-per-second", "20"), drain=3)
    with stack.enabled(third):
        client = stack.asking(third.url, third.name, "--max-tokens", "1000")
        wait_for_stream(client)

    [told] = finish(client)
    assert told["ended"] == "cut"
    # `disable --now` waits for the socket alone; the engine's end takes a moment more.
    units = "systemctl list-units --no-legend --plain '*@path-third*'"
    stack.node.wait(f'[ -z "$({units})" ]')
    assert stack.containers(third.name) == []
    stack.wait_for_free_lease(third.name)


def test_stop_ends_the_engine_until_the_next_request(stack: Stack) -> None:
    [told] = stack.ask(FIRST.url, FIRST.name)
    assert told["ended"] == "complete"

    stack.node.exec(f"spark-model stop {FIRST.name}")

    assert stack.containers(FIRST.name) == []
    [told] = stack.ask(FIRST.url, FIRST.name)
    assert told["ended"] == "complete"

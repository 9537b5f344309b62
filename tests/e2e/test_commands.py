"""What somebody without root does with `spark-model`, and what a broken file costs."""

from __future__ import annotations

import dataclasses
import json

import pytest
from stack import Demo, Stack, finish, wait_for_stream

MODEL = Demo("commands", 18381, ("--tokens-per-second", "20"), idle=20)
USER = "visitor"


@pytest.fixture(scope="module", autouse=True)
def models(stack: Stack):
    stack.node.exec(f"id {USER} 2>/dev/null || useradd --create-home -G spark-activator {USER}")
    with stack.enabled(MODEL):
        yield


def test_a_member_of_the_group_needs_no_sudo(stack: Stack) -> None:
    [told] = stack.ask(MODEL.url, MODEL.name)
    assert told["ended"] == "complete"

    listed = stack.node.exec("spark-model list --json", user=USER).out
    status = stack.node.exec(f"spark-model status {MODEL.name}", user=USER).out
    stack.node.exec("journalctl --sync")
    logs = stack.node.exec(f"spark-model logs {MODEL.name}", user=USER).out
    stack.node.exec(f"spark-model stop {MODEL.name}", user=USER)

    assert [one["port"] for one in json.loads(listed) if one["name"] == MODEL.name] == [MODEL.port]
    assert "Phase: ready" in status
    # Activator, runner and engine, each by its own words, in the order of time.
    lines = [line for line in logs.splitlines() if f"spark-{MODEL.name}[" in line]
    assert lines
    assert logs.index("spark-runner[") < logs.index(f"spark-{MODEL.name}[")
    assert "Started spark-model@" in logs
    assert stack.containers(MODEL.name) == []


def test_what_needs_root_says_so(stack: Stack) -> None:
    changed = dataclasses.replace(MODEL, idle=21)
    stack.node.write(f"/etc/spark-activator/models/{MODEL.name}.yaml", changed.text())

    refused = stack.node.exec(f"spark-model update {MODEL.name}", user=USER, check=False)

    assert refused.rc == 1
    assert "root" in refused.err
    assert "Traceback" not in refused.err


def test_looking_wakes_nothing(stack: Stack) -> None:
    stack.node.exec(f"spark-model stop {MODEL.name}")
    with stack.nothing_wakes(MODEL.name):
        stack.node.exec(f"spark-model list; spark-model status; spark-model status {MODEL.name}")
        stack.node.exec(f"spark-model stop {MODEL.name}; spark-model logs {MODEL.name}")


def test_a_broken_frozen_file_is_a_503_and_mends(stack: Stack) -> None:
    stack.node.exec(f"spark-model stop {MODEL.name}")
    stack.wait_for_nothing(MODEL.name)
    file = f"/etc/spark-activator/frozen/{MODEL.name}.json"
    stack.node.exec(f"cp -a {file} /root/frozen && echo '{{' >{file}")
    try:
        [told] = stack.ask(MODEL.url, MODEL.name)
    finally:
        stack.node.exec(f"cp -a /root/frozen {file}")

    assert (told["status"], told["error"]["code"]) == (503, "model_file_broken")
    stack.wait_for_nothing(MODEL.name)
    [again] = stack.ask(MODEL.url, MODEL.name)
    assert again["ended"] == "complete"


def test_a_stop_lets_requests_in_flight_finish(stack: Stack) -> None:
    client = stack.asking(MODEL.url, MODEL.name, "--max-tokens", "60")
    wait_for_stream(client)

    stack.node.exec(f"spark-model stop {MODEL.name}")

    [told] = finish(client)
    assert told["ended"] == "complete"
    assert stack.containers(MODEL.name) == []

"""A daemon-reload changes nothing, and a changed port does what was promised."""

from __future__ import annotations

import dataclasses

import pytest
from stack import Demo, Stack, finish, wait_for_stream

# Idle for longer than it takes to look at what is left after an answer.
MODEL = Demo("reload-me", 18341, ("--tokens-per-second", "40"), idle=10)


@pytest.fixture
def enabled(stack: Stack):
    with stack.enabled(MODEL):
        yield


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("command", ["daemon-reload", "daemon-reexec"])
def test_reload_under_a_stream_changes_nothing(stack: Stack, command: str) -> None:
    client = stack.asking(MODEL.url, MODEL.name, "--max-tokens", "400")
    wait_for_stream(client)
    [container] = stack.containers(MODEL.name)
    units = (f"spark-model@{MODEL.name}.service", f"spark-runner@{MODEL.name}.service")
    processes = [stack.main_pid(unit) for unit in units]

    stack.node.exec(f"systemctl {command}")

    assert [stack.main_pid(unit) for unit in units] == processes
    assert stack.lease_held(MODEL.name)
    [told] = finish(client)
    assert told["ended"] == "complete"
    [again] = stack.ask(MODEL.url, MODEL.name)
    assert again["ended"] == "complete"
    assert stack.containers(MODEL.name) == [container]
    stack.wait_for_nothing(MODEL.name)


@pytest.mark.usefixtures("enabled")
def test_changed_port_is_pending_until_updated(stack: Stack) -> None:
    moved = dataclasses.replace(MODEL, port=18342)
    stack.node.write(f"/etc/spark-activator/models/{MODEL.name}.yaml", moved.text())

    said = stack.node.exec("spark-model apply").out
    stack.node.exec("systemctl daemon-reload")
    [before] = stack.ask(MODEL.url, MODEL.name)

    assert "pending" in said
    assert before["ended"] == "complete"

    stack.node.exec(f"spark-model update {MODEL.name}")
    [told] = stack.ask(moved.url, MODEL.name)
    [old] = stack.ask(MODEL.url, MODEL.name)

    assert told["ended"] == "complete"
    assert old["ended"] == "lost"
    stack.node.wait(f"curl -sf http://127.0.0.1:8009/v1/models | grep -q {MODEL.name}")
    [by_body] = stack.ask("http://127.0.0.1:8009/v1/chat/completions", MODEL.name)
    assert by_body["ended"] == "complete"

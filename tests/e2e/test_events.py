"""A model that does not start: the breaker, `reset`, and the owner's command for events."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from stack import Demo, Stack

MODEL = Demo("fails", 18382, ("--exit-at-start", "3"), idle=20)
QUICK = ("--load-time", "1")
# Each takes the whole budget; neither leaves because it is idle.
FIRST = Demo("event-first", 18383, QUICK, idle=600)
SECOND = Demo("event-second", 18384, QUICK, idle=600)
BROKEN = Demo("event-broken", 18385, ("--exit-at-start", "3"), idle=20)


def test_failures_are_said_and_the_breaker_opens(stack: Stack) -> None:
    node, cursor = stack.node, now(stack)
    node.write("/etc/spark-activator/host.yaml", "on_event: [cat]\n")
    node.exec("spark-model apply")
    try:
        with stack.enabled(MODEL):
            node.exec(f"spark-model reset {MODEL.name}")
            for _ in range(2):
                warmed = node.exec(f"spark-model warm {MODEL.name}", check=False)
                assert warmed.rc == 1
                assert "exited with status 3" in warmed.err
            refused = node.exec(f"spark-model warm {MODEL.name}", check=False)
            assert f"spark-model reset {MODEL.name}" in refused.err

            said = said_since(stack, cursor, 3)
            assert sorted(line["event"] for line in said) == ["breaker_open", "failed", "failed"]
            users = node.exec("journalctl -t spark-event -o json | grep -o '_UID\":\"[0-9]*'").out
            uid = node.exec("id -u spark-event").out.strip()
            assert f'_UID":"{uid}' in users

            node.exec(f"spark-model stop --hold {MODEL.name}")
            assert "held" in node.exec(f"spark-model reset {MODEL.name}").out
            removed = node.exec(f"spark-model reset --cache {MODEL.name}").out
            assert removed.startswith("removed /var/lib/spark-activator/cache/")
    finally:
        node.exec("rm /etc/spark-activator/host.yaml; spark-model apply")


def now(stack: Stack) -> str:
    """Return a cursor of the node's journal, so that a test sees its own lines alone."""
    shown = stack.node.exec("journalctl -n 0 --show-cursor").out
    return shown.partition("-- cursor: ")[2].strip()


def said_since(stack: Stack, cursor: str, count: int) -> list[dict[str, Any]]:
    """Wait until the command got *count* lines, and return all that it got."""
    # Not by -t: with a filter, journalctl 252 leaves out the first line after a cursor.
    told = f"journalctl -o cat --after-cursor '{cursor}' | grep '^{{\"event\"'"
    stack.node.wait(f'[ "$({told} | wc -l)" -ge {count} ]')
    return [json.loads(line) for line in stack.node.exec(told).out.splitlines()]


def served(stack: Stack, model: Demo) -> None:
    [told] = stack.ask(model.url, model.name)
    assert told["ended"] == "complete"


def test_an_eviction_is_said_and_a_pause_is_not(stack: Stack) -> None:
    node, cursor = stack.node, now(stack)
    with stack.sharing(on_event=["cat"]), stack.enabled(FIRST, SECOND):
        served(stack, FIRST)
        node.exec("spark-model pause")
        try:
            node.wait(f"! docker ps -q --filter name=^spark-{FIRST.name}$ | grep -q .")
        finally:
            node.exec("spark-model resume")
        served(stack, FIRST)
        served(stack, SECOND)

        [line] = said_since(stack, cursor, 1)
        assert (line["event"], line["model"], line["for"]) == ("evicted", FIRST.name, SECOND.name)
        assert line["time"].endswith("Z")
        datetime.fromisoformat(line["time"])


def test_nobody_waits_for_a_command_that_hangs(stack: Stack) -> None:
    node, cursor = stack.node, now(stack)
    hangs = ["sh", "-c", "cat; exec sleep infinity"]
    running = "systemctl list-units --plain --no-legend --state=running 'spark-event@*' | grep -q ."
    with stack.sharing(on_event=hangs), stack.enabled(FIRST, SECOND):
        try:
            served(stack, FIRST)
            served(stack, SECOND)
            assert len(said_since(stack, cursor, 1)) == 1
            node.exec(running)
            served(stack, FIRST)

            said = said_since(stack, cursor, 2)
            assert [line["for"] for line in said] == [SECOND.name, FIRST.name]
        finally:
            node.exec("systemctl stop 'spark-event@*.service'")


def test_a_command_that_fails_disturbs_nobody(stack: Stack) -> None:
    node, cursor = stack.node, now(stack)
    with stack.sharing(on_event=["sh", "-c", "cat; exit 3"]), stack.enabled(FIRST, BROKEN):
        node.exec(f"spark-model reset {BROKEN.name}")
        warmed = node.exec(f"spark-model warm {BROKEN.name}", check=False)
        assert "exited with status 3" in warmed.err
        [line] = said_since(stack, cursor, 1)
        assert (line["event"], line["code"]) == ("failed", "start_failed")
        served(stack, FIRST)

        node.wait("! systemctl list-units --all --plain --no-legend 'spark-event@*' | grep -q .")
        assert node.exec("systemctl is-active spark-event.socket").out == "active\n"
        node.exec(f"spark-model reset {BROKEN.name}")

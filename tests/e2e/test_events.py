"""A model that does not start: the breaker, `reset`, and the owner's command for events."""

from __future__ import annotations

import json

from stack import Demo, Stack

MODEL = Demo("fails", 18382, ("--exit-at-start", "3"), idle=20)


def test_failures_are_said_and_the_breaker_opens(stack: Stack) -> None:
    node = stack.node
    node.write("/etc/spark-activator/host.yaml", "on_event: [cat]\n")
    node.exec("spark-model apply")
    try:
        with stack.enabled(MODEL):
            for _ in range(2):
                warmed = node.exec(f"spark-model warm {MODEL.name}", check=False, timeout=60)
                assert warmed.rc == 1
                assert "exited with status 3" in warmed.err
            refused = node.exec(f"spark-model warm {MODEL.name}", check=False)
            assert f"spark-model reset {MODEL.name}" in refused.err

            node.wait("journalctl -t spark-event -o cat | grep breaker_open")
            lines = node.exec("journalctl -t spark-event -o cat | grep ^{").out.splitlines()
            said = [json.loads(line) for line in lines]
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

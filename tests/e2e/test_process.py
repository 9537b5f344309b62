"""An engine that is a process: a unit of its own, which outlives its runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stack import Demo, Stack, finish, wait_for_stream

NAME = "process-engine"
MODEL = Demo(
    NAME,
    18391,
    extra={
        "engine": "process",
        "image": None,
        "args": None,
        "command": [
            "{python}", "-I", "-m", "spark_activator.demo", "--socket", "{socket}",
            "--served-model-name", NAME, "--tokens-per-second", "20", "--load-time", "2",
            "--fork-child", "session",
        ],
    },
)  # fmt: skip
ENGINE = "[s]park_activator.demo"


@contextmanager
def enabled(stack: Stack) -> Iterator[None]:
    with stack.enabled(MODEL):
        yield


def test_it_serves_and_leaves_no_child_behind(stack: Stack) -> None:
    with enabled(stack):
        [told] = stack.ask(MODEL.url, NAME)
        running = stack.node.exec(f"pgrep -fc '{ENGINE}'").out
        stack.node.wait(f"! systemctl is-active -q spark-runner@{NAME}.service", timeout=40)
        stack.node.wait(f"! pgrep -f '{ENGINE}'", timeout=20)
        stack.node.wait(f"! systemctl is-active -q spark-engine@{NAME}.service", timeout=20)

    assert told["ended"] == "complete"
    assert int(running) >= 2


def test_runner_killed_while_it_serves(stack: Stack) -> None:
    with enabled(stack):
        client = stack.asking(MODEL.url, NAME, "--max-tokens", "100")
        wait_for_stream(client)
        engine = stack.main_pid(f"spark-engine@{NAME}.service")

        stack.kill(f"spark-runner@{NAME}.service")
        [told] = finish(client)
        [again] = stack.ask(MODEL.url, NAME)

        assert told["ended"] == "complete"
        assert again["ended"] == "complete"
        assert stack.main_pid(f"spark-engine@{NAME}.service") == engine


def test_supervisor_killed_takes_the_engine_along_and_the_next_request_is_answered(
    stack: Stack,
) -> None:
    with enabled(stack):
        client = stack.asking(MODEL.url, NAME, "--max-tokens", "400")
        wait_for_stream(client)

        stack.kill(f"spark-engine@{NAME}.service")
        [told] = finish(client)
        [again] = stack.ask(MODEL.url, NAME)

    assert told["ended"] == "cut"
    assert again["ended"] == "complete"
    stack.node.wait(f"! pgrep -f '{ENGINE}'", timeout=20)

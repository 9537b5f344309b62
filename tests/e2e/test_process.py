"""An engine that is a process: a unit of its own, which outlives its runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stack import Demo, Stack, finish, wait_for_stream

NAME = "process-engine"
# Longer than it takes to look at what is left after an answer.
IDLE = 10
MODEL = Demo(
    NAME,
    18391,
    idle=IDLE,
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
TCP = Demo(
    "tcp-engine",
    18392,
    idle=IDLE,
    extra={
        "engine": "process",
        "image": None,
        "args": None,
        "tcp": 8000,
        "command": [
            "{python}", "-I", "-m", "spark_activator.demo", "--port", "8000",
            "--served-model-name", "tcp-engine", "--tokens-per-second", "20", "--load-time", "2",
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
        stack.node.wait(f"! systemctl is-active -q spark-runner@{NAME}.service")
        stack.node.wait(f"! pgrep -f '{ENGINE}'")
        stack.node.wait(f"! systemctl is-active -q spark-engine@{NAME}.service")

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
    stack.node.wait(f"! pgrep -f '{ENGINE}'")


def test_engine_that_only_speaks_tcp_is_reached_by_its_proxy_and_by_nobody_else(
    stack: Stack,
) -> None:
    with stack.enabled(TCP):
        client = stack.asking(TCP.url, TCP.name, "--max-tokens", "60")
        wait_for_stream(client)
        # It has a network of its own.
        assert stack.node.exec("curl -s http://127.0.0.1:8000/health", check=False).rc != 0
        stack.kill(f"spark-runner@{TCP.name}.service")
        [told] = finish(client)
        [again] = stack.ask(TCP.url, TCP.name)
        stack.node.wait(f"! systemctl is-active -q spark-runner@{TCP.name}.service")
        # A second engine has a second network, or the first one's: never none.
        stack.node.exec(f"systemctl stop spark-engine@{TCP.name}.service")
        third = stack.asking(TCP.url, TCP.name, "--max-tokens", "60")
        wait_for_stream(third)

    # Switched off while it streamed: nothing on its way ended before it did.
    [last] = finish(third)
    assert [told["ended"], again["ended"], last["ended"]] == ["complete"] * 3
    stack.node.wait(f"! systemctl is-active -q spark-tcp@{TCP.name}.service")

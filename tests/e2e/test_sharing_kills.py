"""Three models, one of which fits, ten waiters, and a kill: all are served in the end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from ledger import engines_watched, never_two
from node import CommandFailed
from stack import Demo, Stack, finish

OPTIONS = ("--load-time", "1", "--tokens-per-second", "40")
MODELS = [Demo(f"kill-{n}", 18350 + n, OPTIONS, idle=2) for n in (1, 2, 3)]
WAITERS = (4, 3, 3)


@pytest.fixture(scope="module", autouse=True)
def models(stack: Stack) -> Iterator[None]:
    with stack.sharing(), stack.enabled(*MODELS):
        yield


def phase(stack: Stack, model: Demo) -> str:
    file = f"/run/spark-activator/state/{model.name}.json"
    text = stack.node.exec(f"cat {file}", check=False).out
    return str(json.loads(text)["phase"]) if text else ""


def who(stack: Stack, role: str) -> Demo | None:
    """A model that waits for the GPU, or the one that has it."""
    for model in MODELS:
        now = phase(stack, model)
        if now and (now == "queued") is (role == "waiter"):
            return model
    return None


def strike(
    stack: Stack, victim: str, role: str, clients: list[tuple[Demo, subprocess.Popen[bytes]]]
) -> Demo | None:
    """Kill the victim of the first who has that role; None where none had it to the end."""
    while any(client.poll() is None for _, client in clients):
        if struck := try_to_strike(stack, victim, role):
            return struck
    return None


def try_to_strike(stack: Stack, victim: str, role: str) -> Demo | None:
    """Kill the victim of whoever has that role now; None where there is nobody."""
    model = who(stack, role)
    if model is None:
        return None
    try:
        if victim == "container":
            stack.node.exec(f"docker kill spark-{model.name}")
        else:
            stack.kill(f"{victim}@{model.name}.service")
    except CommandFailed:
        return None  # it has just ended by itself, or is not there yet
    return model


MAY_END = {
    "spark-runner": set[str](),
    "spark-model": {"cut", "lost"},
    "container": {"cut", "refused"},
}
CASES = [
    (victim, role, delay)
    for victim in ("spark-runner", "spark-model", "container")
    for role in ("holder", "waiter")
    for delay in (0.0, 1.0, 2.5, 4.0)
    if (victim, role) != ("container", "waiter")
]
SAMPLE = {("spark-runner", "holder", 1.0), ("spark-model", "waiter", 1.0)}


@pytest.mark.parametrize(
    ("victim", "role", "delay"),
    [pytest.param(*case, marks=() if case in SAMPLE else pytest.mark.long) for case in CASES],
)
def test_kill_one_of_three_with_ten_waiters(
    stack: Stack, victim: str, role: str, delay: float
) -> None:
    stack.wait_for_nothing(*(model.name for model in MODELS))
    with engines_watched(stack, *MODELS) as seen:
        clients = ask_all(stack)
        stack.node.wait(f"[ -e /run/spark-activator/state/{MODELS[0].name}.json ]")
        stack.node.exec(f"sleep {delay}")
        struck = strike(stack, victim, role, clients)
        assert struck is not None, "nobody was there to be killed"

        for model, client in clients:
            for told in finish(client):
                # Whose activator or engine died can see it; nobody else notices.
                allowed = {"complete"} | (MAY_END[victim] if model is struck else set())
                assert told["ended"] in allowed, (model.name, told)
        for _, client in (again := ask_all(stack)):
            assert {told["ended"] for told in finish(client)} == {"complete"}
        assert len(again) == len(MODELS)
        stack.wait_for_nothing(*(model.name for model in MODELS))
    assert never_two(seen), seen
    for model in MODELS:
        stack.wait_for_free_lease(model.name)


def ask_all(stack: Stack) -> list[tuple[Demo, subprocess.Popen[bytes]]]:
    return [
        (model, stack.asking(model.url, model.name, "--count", str(count), "--max-tokens", "20"))
        for model, count in zip(MODELS, WAITERS, strict=True)
    ]

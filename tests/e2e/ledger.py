"""What the node's journal and Docker say of who had the GPU, for tests of sharing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stack import Demo, Stack

from spark_activator.facts import Fact, parse

MODEL = "io.spark-activator.model"


def facts(stack: Stack, name: str, part: str = "runner") -> list[Fact]:
    """All facts that runners of *name* have told since boot, or its activators; oldest first."""
    out = stack.node.exec(f"journalctl --sync; journalctl -b -u spark-{part}@{name} -o cat").out
    return [fact for fact in map(parse, out.splitlines()) if fact is not None]


def last(stack: Stack, name: str, what: str, part: str = "runner") -> Fact:
    """The last fact of that kind."""
    return [fact for fact in facts(stack, name, part) if fact.what == what][-1]


def history(stack: Stack, name: str) -> list[dict[str, Any]]:
    """What the activations of *name* took, oldest first."""
    file = f"/var/lib/spark-activator/history/{name}.jsonl"
    return [json.loads(line) for line in stack.node.exec(f"cat {file}").out.splitlines()]


def forget(stack: Stack, *models: Demo) -> None:
    """Have no measure of these models: then a switch costs what is assumed."""
    files = " ".join(f"/var/lib/spark-activator/history/{model.name}.jsonl" for model in models)
    stack.node.exec(f"rm -f {files}")


def idle_since(stack: Stack, name: str) -> float:
    """When the last answer of *name* ended, by CLOCK_BOOTTIME."""
    return float(last(stack, name, "request ended", "model").values["until"])


def boottime(stack: Stack) -> float:
    """The node's CLOCK_BOOTTIME."""
    return float(stack.node.exec("cut -d' ' -f1 /proc/uptime").out)


@contextmanager
def engines_watched(stack: Stack, *models: Demo) -> Iterator[list[tuple[str, str]]]:
    """Yield a list that in the end has each container's `create` and `destroy`, in order."""
    seen: list[tuple[str, str]] = []
    since = stack.node.exec("date +%s.%N").out.strip()
    yield seen
    command = (
        f"docker events --since {since} --until $(date +%s.%N) --filter type=container"
        f" --filter event=create --filter event=destroy --format '{{{{json .}}}}'"
    )
    names = {model.name for model in models}
    for line in stack.node.exec(command).out.splitlines():
        event = json.loads(line)
        name = event["Actor"]["Attributes"].get(MODEL)
        if name in names:
            seen.append((name, event["Action"]))


def never_two(seen: list[tuple[str, str]]) -> bool:
    """Whether each container was gone before the next one was made."""
    return all(
        first == second and (made, gone) == ("create", "destroy")
        for (first, made), (second, gone) in zip(seen[::2], seen[1::2], strict=True)
    )


def ask_together(stack: Stack, *models: Demo) -> dict[str, dict[str, Any]]:
    """Ask for all of *models* in the same millisecond; return how each request ended."""
    asking = " & ".join(
        shlex.join(["python3", "/root/client.py", model.url, model.name, "--max-tokens", "4"])
        + ' --at "$at"'
        for model in models
    )
    # A second is enough for all of the clients to have started.
    begin = 'at=$(python3 -c "import time; print(time.time() + 1)")'
    told = stack.node.exec(f"{begin}; {asking} & wait", timeout=180).out
    ended = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    return {one["model"]: one for one in ended if "ended" in one}

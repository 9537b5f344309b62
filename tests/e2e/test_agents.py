"""Two closed-loop agents on two models that do not fit together: the simulator and containers.

The script and its scale are tests/traces/agents.json, committed before they were
run; see docs/scheduling.md, "Simulated and real".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from node import Node
from sharing_clients import PATIENCE, RETRY
from sharing_trace import DRAIN, IDLE, Outcome, Replay, Script, replay, side_by_side, simulate
from stack import Demo, Stack

AGENT = "/root/agent.py"
# Fine enough for calls of a tenth of a second.
TOKENS_PER_SECOND = 100
AGREE = 0.2
PORTS = {"left": 18381, "right": 18382}


def models(what: Replay) -> list[Demo]:
    """One engine for each agent; a switch costs what the replay says."""
    return [
        Demo(
            f"agent-{name}", PORTS[name],
            (
                "--load-time", str(what.load_time(name)),
                "--tokens-per-second", str(TOKENS_PER_SECOND),
            ),
            idle=round(IDLE * what.factor, 3), drain=round(DRAIN * what.factor, 3),
        )
        for name in sorted(what.scripts)
    ]  # fmt: skip


def script(model: Demo, told: Script, scale: float) -> dict[str, Any]:
    """What agent.py reads; the first token comes at once, so that one more is asked for."""
    return {
        "url": model.url,
        "model": model.name,
        "first": told.first * scale,
        "patience": PATIENCE * scale,
        "retry": RETRY * scale,
        "calls": [
            (1 + round(seconds * scale * TOKENS_PER_SECOND), pause * scale)
            for seconds, pause in told.calls
        ],
    }


def history(node: Node, name: str) -> list[dict[str, Any]]:
    """What the runner has recorded of its activations."""
    file = f"/var/lib/spark-activator/history/{name}.jsonl"
    return [json.loads(line) for line in node.exec(f"cat {file}").out.splitlines()]


def learn(stack: Stack, what: Replay) -> None:
    """Bring each model up and down once, so that its runner knows what it costs."""
    for model in models(what):
        [told] = stack.ask(model.url, model.name, "--max-tokens", "1")
        assert told["ended"] == "complete"
        stack.node.exec(f"spark-model stop {model.name}", timeout=60)
        stack.wait_for_nothing(model.name)
        last = history(stack.node, model.name)[-1]
        over = last["start"] - what.load_time(model.name.removeprefix("agent-"))
        print(
            f"{model.name}: beyond the load a start takes {over:.2f} s and a stop "
            f"{last['stop']:.2f} s; the trace says {what.start:.2f} and {what.stop:.2f} s"
        )


def spans(entries: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """When engines started and stopped: from the lease to ready, from the end to its memory."""
    found = []
    for entry in entries:
        ready = entry["phases"]["ready"]
        found.append((ready - entry["start"], ready))
        found.append((entry["ended"] - entry["stop"], entry["ended"]))
    return found


def run(stack: Stack, what: Replay) -> Outcome:
    """Replay with containers."""
    scale, made = what.factor, models(what)
    before = {model.name: len(history(stack.node, model.name)) for model in made}
    scripts = [
        script(model, told, scale)
        for model, (_, told) in zip(made, sorted(what.scripts.items()), strict=True)
    ]
    output = stack.node.exec(f"python3 {AGENT}", stdin=json.dumps(scripts), timeout=840).out
    lines = [json.loads(line) for line in output.splitlines()]
    began, calls = lines[0]["began"], lines[1:]
    done = max(call["done"] for call in calls)
    entries = []
    for model in made:
        stack.node.exec(f"spark-model stop {model.name}", timeout=60)
        stack.wait_for_nothing(model.name)
        entries += history(stack.node, model.name)[before[model.name] :]
    ended: Counter[str] = Counter()
    for call in calls:
        ended.update(call["ended"])
    print(f"requests ended: {dict(ended)}")
    switching = sum(
        max(0.0, min(until, done) - max(since, began)) for since, until in spans(entries)
    )
    return Outcome(
        (done - began) / scale,
        sum(entry["phases"]["ready"] < done for entry in entries),
        switching / scale,
        {
            name: [
                (call["began"] - call["asked"]) / scale
                for call in calls
                if call["model"] == f"agent-{name}"
            ]
            for name in what.scripts
        },
        ended.total(),
        ended["cut"],
    )


@pytest.mark.parametrize(
    ("label", "part"),
    [
        ("6 min", "short"),
        pytest.param("6 min", "long", marks=pytest.mark.long),
        pytest.param("10 min", "long", marks=pytest.mark.long),
        pytest.param("6 and 10 min", "long", marks=pytest.mark.long),
    ],
)
def test_agents_simulated_and_real_agree(stack: Stack, label: str, part: str) -> None:
    what = replay(label, part)
    stack.node.put(Path(__file__).with_name("agent.py"), AGENT)
    simulated = simulate(what)

    with stack.sharing(pace=what.scale), stack.enabled(*models(what)):
        learn(stack, what)
        real = run(stack, what)

    print(side_by_side(f"{label}, {part}", simulated, real))
    for outcome in (simulated, real):
        assert outcome.share <= 0.5
        assert outcome.cut == 0
    # Every row: what an owner would read from the one has to hold in the other.
    apart = {
        row: (one, other)
        for (row, one), other in zip(simulated.rows().items(), real.rows().values(), strict=True)
        if abs(other - one) > AGREE * one
    }
    assert not apart

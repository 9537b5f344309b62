"""Two closed-loop agents on two models that do not fit together: the simulator and containers.

The script and its scale are tests/traces/agents.json, committed before they were
run; see docs/scheduling.md, "Simulated and real".
"""

from __future__ import annotations

import json
import statistics
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
PORTS = {"left": 18381, "right": 18382, "probe": 18383}


def demo(name: str, port: int, load_time: float, what: Replay) -> Demo:
    """An engine for one agent."""
    return Demo(
        name, port,
        ("--load-time", str(load_time), "--tokens-per-second", str(TOKENS_PER_SECOND)),
        idle=round(IDLE * what.factor, 3), drain=round(DRAIN * what.factor, 3),
    )  # fmt: skip


def models(what: Replay, beyond: float) -> list[Demo]:
    """One engine for each agent; a switch costs what the replay says."""
    return [
        demo(f"agent-{name}", PORTS[name], what.load_time(name, beyond), what)
        for name in sorted(what.scripts)
    ]


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


def up_and_down(stack: Stack, model: Demo) -> dict[str, Any]:
    """Bring a model up and down once, and return what its runner has recorded."""
    [told] = stack.ask(model.url, model.name, "--max-tokens", "1")
    assert told["ended"] == "complete"
    stack.node.exec(f"spark-model stop {model.name}")
    stack.wait_for_nothing(model.name)
    return history(stack.node, model.name)[-1]


def measure(stack: Stack, what: Replay) -> float:
    """Return seconds that a start and a stop take here besides the engine's load.

    It depends on what else the machine does, and is a part of what the script
    calls a switch.
    """
    probe = demo("agent-probe", PORTS["probe"], 0.0, what)
    with stack.enabled(probe):
        found = [up_and_down(stack, probe) for _ in range(3)]
    start = statistics.median(one["start"] for one in found)
    stop = statistics.median(one["stop"] for one in found)
    print(
        f"beyond the load a start takes {start:.2f} s here and a stop {stop:.2f} s; "
        f"on a quiet machine {what.start:.2f} and {what.stop:.2f} s"
    )
    return float(start + stop)


def learn(stack: Stack, what: Replay, made: Sequence[Demo]) -> None:
    """Bring each model up and down once, so that its runner knows what it costs."""
    for model in made:
        last = up_and_down(stack, model)
        cost = what.costs[model.name.removeprefix("agent-")] * what.factor
        print(f"{model.name}: a switch costs {last['start'] + last['stop']:.2f} s of {cost:.2f} s")


def spans(entries: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """When engines started and stopped: from the lease to ready, from the end to its memory."""
    found = []
    for entry in entries:
        ready = entry["phases"]["ready"]
        found.append((ready - entry["start"], ready))
        found.append((entry["ended"] - entry["stop"], entry["ended"]))
    return found


def run(stack: Stack, what: Replay, made: Sequence[Demo]) -> Outcome:
    """Replay with containers."""
    scale = what.factor
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
        stack.node.exec(f"spark-model stop {model.name}")
        stack.wait_for_nothing(model.name)
        entries += history(stack.node, model.name)[before[model.name] :]
    costs = [f"{entry['start']:.2f} + {entry['stop']:.2f}" for entry in entries]
    print(f"starts and stops of the replay, s: {', '.join(costs)}")
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

    with stack.sharing(pace=what.scale):
        made = models(what, measure(stack, what))
        with stack.enabled(*made):
            learn(stack, what, made)
            real = run(stack, what, made)

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

"""Two agents with a script: drawn once, committed, and replayed in simulated time.

tests/e2e/test_agents.py replays the same script against containers.  Whoever
wants to see that nothing was chosen can draw it again:

    python tests/sharing_trace.py >tests/traces/agents.json

In the file every time is in seconds of the life that it describes.  A replay
runs `scale` times as long: with 0.03 an hour takes 108 s.
"""

from __future__ import annotations

import json
import random
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharing_clients import LONGEST_CALL, PATIENCE, RETRY, Agent, Waits, service
from sharing_world import Settings, Spec, World

TRACE = Path(__file__).parent / "traces" / "agents.json"
SEED = 1
# With the scale below, three replays take twelve minutes.  Of the lengths between 40
# and 60 all but 40 are such that a hundredth of a second does not decide whether
# there is one more turn; see test_agents_trace.py.
CALLS = 50
# Who comes first must not be a race between two processes that start.
APART = 60.0
# What a model's file says where it says nothing, see `Spec`.
IDLE = 20 * 60.0
DRAIN = 120.0
# A runner that waits looks again this often in real time, whatever the scale.
POLL = 1.0


@dataclass(frozen=True)
class Script:
    """What one agent does: *calls* are seconds of service, and of the pause after it."""

    first: float
    calls: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Replay:
    """One replay.

    Attributes:
        label: What a switch costs, in words.
        costs: Seconds that a start and a stop of each model take together.
        scale: Real seconds for each second of the file, as `pace` of host.yaml.
        start: Real seconds of a start beyond the engine's own load, on a quiet machine.
        stop: Real seconds that a stop takes.
        scripts: What each agent does; one for each model.
    """

    label: str
    costs: Mapping[str, float]
    scale: str
    start: float
    stop: float
    scripts: Mapping[str, Script]

    @property
    def factor(self) -> float:
        return float(self.scale)

    def load_time(self, model: str, beyond: float) -> float:
        """Real seconds that the engine loads: the scaled cost less what comes to it.

        *beyond* is what a start and a stop take here besides the load.
        """
        return round(self.costs[model] * self.factor - beyond, 2)


def draw(seed: int, name: str, calls: int, after: float = 0.0) -> Script:
    """Draw by the rules of `sharing_clients.Agent`; a shorter script is the beginning."""
    dice = random.Random(f"{seed} {name}")
    first, drawn = after + dice.uniform(0, 30), []
    for _ in range(calls):
        seconds = min(service(dice, 20.0), LONGEST_CALL)
        rests = dice.random() < 0.4
        pause = dice.uniform(15, 90) if rests else dice.uniform(3, 10)
        drawn.append((round(seconds, 2), round(pause, 2)))
    return Script(round(first, 2), drawn)


def replay(label: str, part: str) -> Replay:
    """Read one replay from the file: *part* is `long` or `short`."""
    told = json.loads(TRACE.read_text())
    how = told[part]
    scripts = {
        name: Script(one["first"], [(s, p) for s, p in one["calls"][: how["calls"]]])
        for name, one in told["agents"].items()
    }
    over = told["overhead"]
    return Replay(label, told["costs"][label], how["scale"], over["start"], over["stop"], scripts)


@dataclass(frozen=True)
class Outcome:
    """What came of a replay, in seconds of the file, from the start until both are done.

    Attributes:
        makespan: Until both agents are done.
        starts: Of models.
        switching: Seconds of starts and stops.
        waits: From a call to the moment when the engine has it, retries included, by agent.
        tries: Requests of all agents.
        cut: Of these, cut at the end of a drain.
    """

    makespan: float
    starts: int
    switching: float
    waits: Mapping[str, Sequence[float]]
    tries: int
    cut: int

    @property
    def share(self) -> float:
        """The share of the time that went into switching."""
        return self.switching / self.makespan

    def rows(self) -> dict[str, float]:
        """What a table shows, by the name of its row."""
        rows = {
            "until both are done, s": self.makespan,
            "starts": self.starts,
            "switching, s": self.switching,
            "switching, share": self.share,
        }
        for agent, waits in sorted(self.waits.items()):
            rows[f"{agent}: mean wait, s"] = statistics.fmean(waits)
            rows[f"{agent}: worst wait, s"] = max(waits)
        return rows | {"requests": self.tries, "of these cut": self.cut}


class Scripted(Agent):
    """An agent that does what its script says, at the scale of a replay."""

    def __init__(self, world: World, waits: Waits, model: str, script: Script, scale: float):
        self._script, self._scale, self._next = script, scale, 0
        self.patience, self.retry = PATIENCE * scale, RETRY * scale
        super().__init__(world, random.Random(0), waits, model, len(script.calls))

    def first(self) -> float:
        return self._script.first * self._scale

    def seconds(self) -> float:
        self._next += 1
        return self._script.calls[self._next - 1][0] * self._scale

    def pause(self) -> float:
        return self._script.calls[self._next - 1][1] * self._scale


def simulate(what: Replay) -> Outcome:
    """Replay in simulated time, with the real seconds that the containers get."""
    scale = what.factor
    specs = [
        Spec(
            name, 10, start=cost * scale - what.stop, stop=what.stop,
            drain=DRAIN * scale, idle=IDLE * scale,
        )
        for name, cost in what.costs.items()
    ]  # fmt: skip
    world, waits = World(10, specs, settings=Settings(pace=scale), poll=POLL), Waits()
    agents = [Scripted(world, waits, name, script, scale) for name, script in what.scripts.items()]
    while any(agent.finished is None for agent in agents):
        world.run(world.now + scale)
    return Outcome(
        max(agent.finished or 0.0 for agent in agents) / scale,
        world.starts,
        world.switching / scale,
        {name: [wait / scale for wait in waits.by_model[name]] for name in what.scripts},
        sum(agent.tries for agent in agents),
        waits.cut,
    )


def side_by_side(label: str, simulated: Outcome, real: Outcome) -> str:
    """Write both tables as one, with the ratio."""
    lines = [f"| {label} | simulated | real | real / simulated |", "|---|---|---|---|"]
    for (name, left), right in zip(simulated.rows().items(), real.rows().values(), strict=True):
        form = ".2f" if "share" in name else ".0f"
        ratio = f"{right / left:.2f}" if left else "-"
        lines.append(f"| {name} | {left:{form}} | {right:{form}} | {ratio} |")
    return "\n".join(lines)


def drawn(overhead: Mapping[str, float]) -> dict[str, Any]:
    """Return what the file holds."""
    scripts = {
        name: draw(SEED, name, CALLS, index * APART) for index, name in enumerate(("left", "right"))
    }
    return {
        "about": "two coding agents on two models; drawn by tests/sharing_trace.py",
        "seed": SEED,
        "costs": {
            "6 min": {"left": 360.0, "right": 360.0},
            "10 min": {"left": 600.0, "right": 600.0},
            "6 and 10 min": {"left": 360.0, "right": 600.0},
        },
        "long": {"calls": CALLS, "scale": "0.03"},
        "short": {"calls": 28, "scale": "0.018"},
        "overhead": dict(overhead),
        "agents": {
            name: {"first": script.first, "calls": [list(call) for call in script.calls]}
            for name, script in scripts.items()
        },
    }


def write(told: Mapping[str, Any]) -> str:
    """Write the file: one call a line."""
    text = json.dumps(told, indent=1)
    return re.sub(r"\[\s+([\d.]+),\s+([\d.]+)\s+\]", r"[\1, \2]", text) + "\n"


if __name__ == "__main__":
    print(write(drawn(json.loads(TRACE.read_text())["overhead"])), end="")

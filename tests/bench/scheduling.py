"""How long models wait for each other: our plan beside two others, in simulated time.

    python tests/bench/scheduling.py [--hours 24] [--seed 1] [--only WORD]

Models do not fit together unless a table says so.  The cost of a switch is a
tenth stop and nine tenths start.  A wait is from the request to the moment when
the engine has it.  Prints the tables of docs/scheduling.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sharing_clients import (
    EQUAL,
    HOME,
    HOT_AND_RARE,
    HOTTER,
    Clients,
    Result,
    run_agents,
    run_open,
    specs,
)  # fmt: skip
from sharing_policies import POLICIES
from sharing_world import Decide

COSTS = {
    "15 s": 15.0,
    "60 s": 60.0,
    "3 min": 180.0,
    "6 min": 360.0,
    "10 min": 600.0,
    "15 min": 900.0,
}


def table(title: str, models: Sequence[str], runs: dict[str, Callable[[Decide], Result]]) -> None:
    """Print one table: a row for each run and policy."""
    names = " | ".join(f"{name}: mean (worst)" for name in sorted(models))
    print(f"\n### {title}\n")
    print(f"| C | policy | mean wait | {names} | starts/h | switching | hours | cut |")
    print("|---" * (len(models) + 7) + "|")
    for cost, run in runs.items():
        for policy, decide in POLICIES.items():
            print(f"| {cost} | {policy} | {run(decide).cells()} |", flush=True)


def opened(
    title: str, names: str, clients: Clients, costs: Sequence[str], hours: float, seed: int
) -> None:
    def at_cost(cost: float) -> Callable[[Decide], Result]:
        models = specs(dict.fromkeys(names.split(), cost))
        return lambda decide: run_open(decide, models, clients, hours, seed)

    table(title, names.split(), {cost: at_cost(COSTS[cost]) for cost in costs})


def agents(title: str, mixes: dict[str, dict[str, float]], calls: int, seed: int) -> None:
    def of_mix(mix: dict[str, float]) -> Callable[[Decide], Result]:
        return lambda decide: run_agents(decide, specs(mix), calls, seed)

    names = sorted(next(iter(mixes.values())))
    table(title, names, {label: of_mix(mix) for label, mix in mixes.items()})


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int, default=80)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    every = list(COSTS)
    tables: dict[str, Callable[[], None]] = {
        "home": lambda: opened(
            "A home's bursts: one model often, two now and then", "chat code vision",
            HOME, every, given.hours, given.seed,
        ),
        "equal": lambda: opened(
            "Two equal chat models", "left right", EQUAL, every, given.hours, given.seed
        ),
        "hot": lambda: opened(
            "A model that is never idle (4.8 at once) beside a rare one", "hot rare",
            HOT_AND_RARE, every[:3], given.hours, given.seed,
        ),
        "hotter": lambda: opened(
            "The same, hotter (6.7 at once)", "hot rare",
            HOTTER, every[:3], given.hours, given.seed,
        ),
        "agents": lambda: agents(
            "Two coding agents on two models", {
                **{cost: {"left": COSTS[cost], "right": COSTS[cost]} for cost in every},
                "6 and 10 min": {"left": 360.0, "right": 600.0},
                "1 and 15 min": {"left": 60.0, "right": 900.0},
            }, given.calls, given.seed,
        ),
        "three": lambda: agents(
            "Three coding agents on three models",
            {cost: dict.fromkeys(("left", "middle", "right"), COSTS[cost]) for cost in every},
            given.calls, given.seed,
        ),
    }  # fmt: skip
    for name, show in tables.items():
        if given.only in ("", name):
            show()


if __name__ == "__main__":
    main()

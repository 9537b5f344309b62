"""What the plan is for: little switching, and nobody starves; see docs/scheduling.md.

The traces are those of the simulator, with seeds that were taken as they came.
"""

from __future__ import annotations

import statistics

import pytest
from sharing_clients import HOT_AND_RARE, Result, run_agents, run_open, specs
from sharing_policies import patient
from sharing_world import Decide

from spark_activator.runner.plan import plan

# Hours of simulated time.
pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "costs",
    [
        {"left": 360.0, "right": 360.0},
        {"left": 600.0, "right": 600.0},
        {"left": 360.0, "right": 600.0},
        {"left": 900.0, "right": 900.0},
        {"left": 600.0, "middle": 600.0, "right": 600.0},
    ],
    ids=lambda costs: "-".join(f"{cost:.0f}" for cost in costs.values()),
)
def test_agents_switch_at_most_half_of_the_time(costs: dict[str, float], seed: int) -> None:
    result = run_agents(plan, specs(costs), calls=80, seed=seed)

    assert result.switching <= result.seconds / 2
    assert result.waits.cut == 0


def hot_and_rare(decide: Decide, seed: int) -> Result:
    return run_open(decide, specs({"hot": 60.0, "rare": 60.0}), HOT_AND_RARE, 8, seed)


def test_rare_model_is_served_beside_one_that_is_never_idle() -> None:
    ours = [hot_and_rare(plan, seed).waits for seed in SEEDS]
    others = [hot_and_rare(patient, seed).waits for seed in SEEDS]

    assert max(max(waits.by_model["rare"]) for waits in ours) <= 510
    mean = statistics.fmean(wait for waits in ours for wait in waits.all)
    assert mean <= 2.2 * statistics.fmean(wait for waits in others for wait in waits.all)
    # Which is not what one gets by never leaving a busy model.
    assert max(max(waits.by_model["rare"]) for waits in others) > 510

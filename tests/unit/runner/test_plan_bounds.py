"""What the plan is for: little switching, and nobody starves; see docs/scheduling.md.

The traces are those of the simulator, with seeds that were taken as they came.
"""

from __future__ import annotations

import statistics

import pytest
from sharing_clients import HOT_AND_RARE, HOTTER, Clients, Result, run_agents, run_open, specs
from sharing_policies import patient
from sharing_world import Decide

from spark_activator.runner.plan import plan

# Hours of simulated time: seconds of computing, more of them where others compute.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

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


def beside_hot(decide: Decide, clients: Clients, seed: int) -> Result:
    # A day: a third of one has 32 rare requests, and its mean is a matter of luck.
    return run_open(decide, specs({"hot": 60.0, "rare": 60.0}), clients, 24, seed)


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))]
)
@pytest.mark.parametrize(
    ("clients", "times"),
    [
        # Never idle: 4.8 requests at once.
        (HOT_AND_RARE, 2.2),
        # Hotter, 6.7 at once: who never leaves it lets the rare one wait for
        # hours, and that is what its mean is bought with.
        (HOTTER, 3.0),
    ],
    ids=["never idle", "hotter"],
)
def test_rare_model_is_served_beside_one_that_is_never_idle(
    clients: Clients, times: float, seed: int
) -> None:
    ours = beside_hot(plan, clients, seed).waits
    other = beside_hot(patient, clients, seed).waits

    assert max(ours.by_model["rare"]) <= 510
    # Over all requests, of both models; the rare model's own mean is better than there.
    assert statistics.fmean(ours.all) <= times * statistics.fmean(other.all)
    assert statistics.fmean(ours.by_model["rare"]) < statistics.fmean(other.by_model["rare"])
    # Which is not what one gets by never leaving a busy model.
    assert max(other.by_model["rare"]) > 510

"""The script of the two agents is what its seed draws, and what the plan makes of it."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from sharing_trace import TRACE, Replay, Script, drawn, replay, simulate, write

# Simulated hours.
pytestmark = pytest.mark.slow


def test_file_is_what_is_drawn() -> None:
    text = TRACE.read_text()

    assert text == write(drawn(json.loads(text)["overhead"]))


@pytest.mark.parametrize("part", ["long", "short"])
@pytest.mark.parametrize("label", ["6 min", "10 min", "6 and 10 min"])
def test_switching_takes_at_most_half_until_both_are_done(label: str, part: str) -> None:
    outcome = simulate(replay(label, part))

    assert outcome.share <= 0.5
    assert outcome.cut == 0
    assert all(waits for waits in outcome.waits.values())


def test_the_shorter_script_is_the_beginning_of_the_longer() -> None:
    short, long = replay("6 min", "short"), replay("6 min", "long")

    for name, script in short.scripts.items():
        assert long.scripts[name].calls[: len(script.calls)] == script.calls
        assert len(script.calls) < len(long.scripts[name].calls)


def disturbed(what: Replay, dice: random.Random) -> Replay:
    """The same as a machine would live it: everything takes a moment longer, or less."""

    def late(seconds: float, least: float, most: float) -> float:
        return seconds + dice.uniform(least, most) / what.factor

    scripts = {
        name: Script(
            late(one.first, 0.4, 0.6),
            [(late(s, 0.0, 0.03), late(p, 0.0, 0.01)) for s, p in one.calls],
        )
        for name, one in what.scripts.items()
    }
    costs = {name: cost * dice.uniform(0.96, 1.04) for name, cost in what.costs.items()}
    return replace(what, scripts=scripts, costs=costs)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("label", "part"),
    [("6 min", "long"), ("10 min", "long"), ("6 and 10 min", "long"), ("6 min", "short")],
)
def test_moments_do_not_decide_what_comes_of_it(label: str, part: str, seed: int) -> None:
    """Else whether simulator and containers agree would be a matter of luck."""
    what = replay(label, part)
    rows = simulate(what).rows()

    moved = simulate(disturbed(what, random.Random(seed))).rows()

    assert moved["starts"] == rows["starts"]
    assert moved == pytest.approx(rows, rel=0.1)

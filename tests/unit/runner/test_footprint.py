"""What an engine took beside what was declared, and who has memory, in words."""

from __future__ import annotations

import pytest

from spark_activator.runner.footprint import Footprint, Verdict, learned
from spark_activator.runner.gpu import GpuProcess
from spark_activator.runner.holders import is_ours, sentence

GIB = 1 << 30
MIB = 1 << 20


@pytest.mark.parametrize(
    ("declared", "took", "verdict"),
    [
        (20 * GIB, 20 * GIB, Verdict.FINE),
        (20 * GIB, 21 * GIB, Verdict.FINE),
        (20 * GIB, 22 * GIB, Verdict.TOO_SMALL),
        (20 * GIB, 15 * GIB, Verdict.FINE),
        (20 * GIB, 14 * GIB, Verdict.WASTEFUL),
        # What is small is within what the rest of the machine does.
        (64 * MIB, 0, Verdict.FINE),
        (64 * MIB, 500 * MIB, Verdict.FINE),
        (64 * MIB, 1 * GIB, Verdict.TOO_SMALL),
        (1 * GIB, 0, Verdict.FINE),
        (2 * GIB, 100 * MIB, Verdict.WASTEFUL),
    ],
)
def test_verdict(declared: int, took: int, verdict: Verdict) -> None:
    footprint = Footprint(declared, took)
    assert footprint.verdict is verdict
    assert bool(footprint.sentence) is (verdict is not Verdict.FINE)


def test_the_most_of_the_last_starts_of_this_configuration_counts() -> None:
    sizes = [("x", 90), ("y", 70), ("x", 3), ("x", None), ("x", 5), ("x", 4), ("x", 2), ("x", 1)]
    entries = [{"config": config, "memory": size} for config, size in sizes]
    assert learned(entries, "x", 9) == Footprint(9, 5)
    assert learned(entries, "z", 9) is None


@pytest.mark.parametrize("wrong", [-1, True, "4", 1e300, 2**60, None])
def test_what_is_no_size_is_left_out(wrong: object) -> None:
    assert learned([{"config": "x", "memory": wrong}], "x", 9) is None


def test_holders_are_named_the_largest_first() -> None:
    foreign = [GpuProcess(7, "comfyui", 30 * GIB), GpuProcess(8, "", None)]
    assert sentence([("b", 12 * GIB), ("c", None)], foreign) == (
        "'comfyui' (process 7) has 30.0 GiB of the GPU, 'b' has a lease of 12.0 GiB, "
        "'c' has a lease of unknown size, 'unknown' (process 8) has unknown size of the GPU"
    )
    assert sentence([(str(n), n) for n in range(8)], ()).endswith("and 3 more")
    assert sentence([], []) == ""


def test_processes_of_our_engines_are_not_foreign() -> None:
    mine = GpuProcess(7, "vllm", 1, "0::/system.slice/docker-0a1b2c.scope")
    unit = GpuProcess(8, "python3", 1, "0::/system.slice/spark-engine@a.service")
    assert is_ours(mine, {"0a1b2c"})
    assert not is_ours(mine, {"ffffff"})
    assert is_ours(unit, ())
    assert not is_ours(GpuProcess(9, "python3", 1), {"0a1b2c"})

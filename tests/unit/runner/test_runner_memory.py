"""The gauge's floor, and when growth has stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_activator.runner.memory import GIB, PATIENCE, STEP, Memory, Stall, read_memory


@pytest.mark.parametrize(("total", "floor"), [(122, 8), (64, 8), (24, 3), (8, 1)])
def test_floor_is_eight_gib_and_an_eighth_of_a_small_machine(total: int, floor: int) -> None:
    assert Memory(total * GIB, 0).floor == floor * GIB


def test_gauge_is_read_in_bytes(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    500 kB\n")
    assert read_memory(file) == Memory(1024000, 512000)


def test_growth_restarts_the_patience_and_noise_does_not() -> None:
    stall = Stall(0, now=0.0)
    assert not stall.over(STEP, now=PATIENCE - 1)
    assert not stall.over(STEP + 1, now=PATIENCE + 1)
    assert stall.over(STEP + 1, now=2 * PATIENCE)

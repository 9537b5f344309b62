"""The gauge: what is read, what follows from it, and when growth has stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_activator.catalog.host import HostSettings
from spark_activator.runner.gpu import GpuMemory, GpuProcess, Nvml
from spark_activator.runner.memory import PATIENCE, STEP, UNWIND, Gauge, Owed, Stall
from spark_activator.runner.memory_values import (
    GIB,
    GPU_FLOOR,
    Memory,
    Room,
    budget_of,
    floor_of,
    is_shared,
    parse_pressure,
)

PRESSURE = """some avg10=0.00 avg60=0.00 avg300=0.00 total=9000000
full avg10=1.50 avg60=0.00 avg300=0.00 total=2500000
"""


@dataclass
class Card(Nvml):
    """A driver that says this."""

    says: GpuMemory | None

    def memory(self) -> GpuMemory | None:
        return self.says

    def processes(self, proc: Path) -> tuple[GpuProcess, ...]:
        return ()


def fake_proc(root: Path, total: int = 16 * GIB, available: int = 4 * GIB) -> Path:
    (root / "meminfo").write_text(
        f"MemTotal: {total // 1024} kB\nMemFree:  1024 kB\nMemAvailable: {available // 1024} kB\n"
    )
    return root


@pytest.mark.parametrize(("total", "floor"), [(122, 8), (64, 8), (24, 3), (8, 1)])
def test_floor_is_eight_gib_and_an_eighth_of_a_small_machine(total: int, floor: int) -> None:
    assert floor_of(HostSettings(), total * GIB) == floor * GIB


def test_floor_of_the_owner_counts() -> None:
    assert floor_of(HostSettings(floor=20 * GIB), 24 * GIB) == 20 * GIB


def test_gauge_is_read_in_bytes(tmp_path: Path) -> None:
    gauge = Gauge(fake_proc(tmp_path), HostSettings(), Card(None))
    assert gauge.read() == Memory(Room(16 * GIB, 4 * GIB, 2 * GIB), None, 1 << 20)


def test_card_with_memory_of_its_own_is_what_leases_are_for(tmp_path: Path) -> None:
    # As large as the host's memory, which on a PC means nothing.
    reading = Gauge(fake_proc(tmp_path), HostSettings(), Card(GpuMemory(48 * GIB, 7 * GIB))).read()
    assert reading.leased == Room(48 * GIB, 7 * GIB, GPU_FLOOR)
    assert reading.room(on_gpu=False) == reading.host == Room(16 * GIB, 4 * GIB, 2 * GIB)
    assert budget_of(HostSettings(), reading) == 48 * GIB - GPU_FLOOR


@pytest.mark.parametrize(
    ("gpu", "machine", "shared"),
    [
        (122, "aarch64", True),
        (121, "aarch64", True),
        (96, "aarch64", False),
        (122, "x86_64", False),
    ],
)
def test_memory_is_shared_where_an_arm_driver_says_the_hosts(
    gpu: int, machine: str, *, shared: bool
) -> None:
    assert is_shared(gpu * GIB, 122 * GIB, machine) is shared


@pytest.mark.parametrize(
    ("settings", "budget"),
    [
        (HostSettings(), 14),
        (HostSettings(floor=4 * GIB), 12),
        (HostSettings(budget=5 * GIB), 5),
        (HostSettings(floor=20 * GIB), 0),
    ],
)
def test_budget_is_what_the_floor_leaves_unless_the_owner_says(
    settings: HostSettings, budget: int
) -> None:
    total = 16 * GIB
    reading = Memory(Room(total, 0, floor_of(settings, total)))
    assert budget_of(settings, reading) == budget * GIB


def test_pressure_is_the_seconds_in_which_all_stood_still(tmp_path: Path) -> None:
    assert parse_pressure(PRESSURE) == 2.5
    assert parse_pressure("") is None
    assert Gauge(tmp_path, HostSettings(), Card(None)).stalled() is None


@pytest.mark.parametrize(
    ("owed", "available", "patience"),
    [
        # Nothing is back, or only what the engine's processes had beside the GPU.
        (Owed(20 * GIB, 10 * GIB, 8 * GIB, 12 * GIB), 8 * GIB, UNWIND),
        (Owed(20 * GIB, 10 * GIB, 8 * GIB, 12 * GIB), 13 * GIB, UNWIND),
        (Owed(20 * GIB, 10 * GIB, 8 * GIB, 12 * GIB), 14 * GIB, PATIENCE),
        (Owed(20 * GIB, 10 * GIB, 8 * GIB, None), 13 * GIB, PATIENCE),
        (Owed(20 * GIB, 10 * GIB), 15 * GIB, UNWIND),
    ],
)
def test_driver_has_time_to_unwind_until_half_is_back(
    owed: Owed, available: int, patience: float
) -> None:
    assert owed.enough == 20 * GIB - 10 * GIB // 16
    assert owed.patience(available) == patience


def test_growth_restarts_the_patience_and_noise_does_not() -> None:
    stall = Stall(0, now=0.0)
    assert not stall.over(STEP, now=PATIENCE - 1)
    assert not stall.over(STEP + 1, now=PATIENCE + 1)
    assert stall.over(STEP + 1, now=2 * PATIENCE)

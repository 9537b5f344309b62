"""When a load is ended, decided on made-up readings."""

from __future__ import annotations

from spark_activator.runner.guard_rules import NOISE_MOST, WINDOW, Danger, Judge

GIB = 1 << 30


def test_floor_is_kept_but_for_noise() -> None:
    judge = Judge(8 * GIB)
    assert judge.danger(8 * GIB, None, 0.0) is None
    assert judge.danger(8 * GIB - NOISE_MOST, None, 0.3) is None
    assert judge.danger(8 * GIB - NOISE_MOST - 1, None, 0.5) is Danger.FLOOR


def test_most_of_a_small_floor_stays() -> None:
    assert Judge(GIB).danger(GIB - GIB // 16, None, 0.0) is Danger.FLOOR


def readings(judge: Judge, stalled_share: float, seconds: float) -> list[Danger | None]:
    times = [number * 0.25 for number in range(int(seconds * 4) + 1)]
    return [judge.danger(9 * GIB, 100.0 + stalled_share * now, now) for now in times]


def test_standing_still_for_most_of_the_window_is_danger() -> None:
    said = readings(Judge(8 * GIB), 0.6, 6.0)
    assert said.index(Danger.PRESSURE) == WINDOW * 4
    assert set(readings(Judge(8 * GIB), 0.4, 30.0)) == {None}


def test_pressure_of_the_past_does_not_count() -> None:
    judge = Judge(8 * GIB)
    for number in range(8):  # two seconds of it, on top of what was counted since boot
        assert judge.danger(9 * GIB, 5000.0 + number * 0.25, number * 0.25) is None
    for number in range(8, 40):
        assert judge.danger(9 * GIB, 5002.0, number * 0.25) is None

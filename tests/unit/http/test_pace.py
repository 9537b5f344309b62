"""How slowly a body may come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spark_activator.http.rate import BUCKET, PER_SECOND, Pace


def test_a_pause_of_a_minute_is_the_longest() -> None:
    pace = Pace()
    assert pace.patience == BUCKET
    pace.received(64 * 1024 * 1024, 1.0)
    assert pace.patience == BUCKET


def test_a_drip_empties_the_bucket_however_regular() -> None:
    pace, waited = Pace(), 0.0
    while pace.patience > 1.0:
        pace.received(1, 1.0)
        waited += 1.0
    assert waited <= BUCKET


@given(st.lists(st.floats(min_value=0.01, max_value=50.0), max_size=50))
def test_whoever_keeps_the_rate_is_never_cut(waits: list[float]) -> None:
    pace = Pace()
    for wait in waits:
        assert wait < pace.patience
        pace.received(int(wait * PER_SECOND) + 1, wait)


@given(st.lists(st.tuples(st.integers(0, 200_000), st.floats(0.0, 100.0)), max_size=50))
def test_patience_is_never_more_than_the_bucket_and_never_negative(
    pieces: list[tuple[int, float]],
) -> None:
    pace = Pace()
    for size, waited in pieces:
        pace.received(size, waited)
        assert 0.0 <= pace.patience <= BUCKET

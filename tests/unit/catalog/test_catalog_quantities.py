from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.catalog.quantities import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20min", 1200),
        ("90 s", 90),
        ("1h 30min", 5400),
        ("0.5d", 43200),
        ("250ms", 0.25),
        ("1d 2h 3min 4s", 93784),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "20", "20m", "0s", "-1s", "1e3s", "20min\n", "1 h, 2 min", "٣s", "9999999s", "0.5ms"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as '20min'"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 << 30), ("1.5 MiB", 3 << 19), ("1B", 1), ("0.001KiB", 1), ("2TiB", 2 << 40)],
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "24", "24GB", "24G", "0GiB", "-1GiB", "1.5B", "24GiB\n", "1 GiB 2"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as '24GiB'"):
        parse_size(text)


@given(st.integers(1, 999_999 * 86_400_000))
def test_duration_comes_back_to_the_millisecond(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@given(st.one_of(st.integers(1, 1 << 49), st.integers(1, 1 << 18).map(lambda n: n << 30)))
def test_size_comes_back_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_sizes_and_durations_are_written_short() -> None:
    assert format_size(24 << 30) == "24GiB"
    assert format_size((24 << 30) + 1) == "25769803777B"
    assert format_duration(5400) == "1h 30min"
    assert format_duration(0) == "0ms"

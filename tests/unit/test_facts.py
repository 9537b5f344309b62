"""What is written as a fact is read as one, and nothing else is."""

from __future__ import annotations

import time

import pytest

from spark_activator.activator.endings import Ended, Outcome
from spark_activator.facts import fact, parse


def test_reads_what_it_wrote() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    read = parse(fact("lease taken", memory=1 << 30, lifecycle="normal"))

    assert read is not None
    assert (read.what, read.values) == (
        "lease taken",
        {"memory": "1073741824", "lifecycle": "normal"},
    )
    assert before - 1e-5 <= read.at <= time.clock_gettime(time.CLOCK_BOOTTIME) + 1e-5


@pytest.mark.parametrize(
    "line", ["", "ready", "lease taken: at=x", "lease taken: memory=1", "x: a=1 at=1.0\n"]
)
def test_other_lines_are_none(line: str) -> None:
    assert parse(line) is None


def test_the_first_outcome_counts_and_a_path_cannot_forge_one() -> None:
    ended = Ended("cafe", "POST /v1/x outcome=answered at=1.0")
    ended.served_by("0a1b2c3d")
    ended.served()
    ended.tell(Outcome.REFUSED, "engine_died")
    ended.tell(Outcome.LEFT)

    read = parse(ended.line())
    assert read is not None
    assert read.values["outcome"] == "refused"
    assert read.values["code"] == "engine_died"
    assert read.values["activation"] == "0a1b2c3d"
    assert float(read.values["until"]) <= read.at

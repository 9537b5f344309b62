"""Counts that wait to be told: nothing is lost, and no line is too long."""

from __future__ import annotations

import math

from spark_activator.activator.usage import PAUSE, Counter
from spark_activator.protocol import USAGE_KEYS


def test_is_due_at_once_after_a_pause_and_not_while_there_is_nothing() -> None:
    counter = Counter()
    assert counter.due_at == math.inf
    counter.add("a", 1, 2)
    assert counter.due_at == -math.inf
    assert counter.take(10.0) == {"a": (1, 1, 2)}
    assert counter.due_at == math.inf
    counter.add("a", 1, 2)
    assert counter.due_at == 10.0 + PAUSE


def test_many_keys_are_told_in_several_lines_at_once() -> None:
    counter = Counter()
    for n in range(USAGE_KEYS + 1):
        counter.add(f"k{n}", 1, 1)

    first = counter.take(10.0)
    assert counter.due_at == -math.inf
    rest = counter.take(10.0)

    assert first is not None
    assert rest is not None
    assert len(first) == USAGE_KEYS
    assert len(first | rest) == USAGE_KEYS + 1
    assert counter.take(10.0) is None


def test_what_could_not_be_told_is_told_later() -> None:
    counter = Counter()
    counter.add("a", 1, 2)
    taken = counter.take(0.0)
    assert taken is not None
    counter.add("a", 10, 20)

    counter.give_back(taken)

    assert counter.take(9.0) == {"a": (2, 11, 22)}

"""Several hands: each item is done once, and the first error ends the others."""

from __future__ import annotations

from queue import Empty
from threading import Event

import pytest

from spark_activator.weights import crew


def test_each_is_done_once() -> None:
    done: list[int] = []

    crew.do_all(range(100), done.append, hands=4, failed=lambda: pytest.fail("none did"))
    crew.do_all([], done.append, hands=4, failed=lambda: pytest.fail("none did"))

    assert sorted(done) == list(range(100))


def test_first_error_ends_the_others_and_is_raised() -> None:
    ended = Event()
    calls: list[None] = []

    def act(item: int) -> None:
        if item == 2:
            raise ValueError("first")
        ended.wait(60)
        raise KeyError("it was told to end")

    def failed() -> None:
        calls.append(None)
        ended.set()

    with pytest.raises(ValueError, match="first"):
        crew.do_all(range(3), act, hands=3, failed=failed)
    assert len(calls) == 1


def test_an_error_of_an_item_is_none_of_the_list() -> None:
    def act(item: int) -> None:
        raise Empty

    with pytest.raises(Empty):
        crew.do_all([1], act, hands=1, failed=lambda: None)

"""What is done in a thread beside the main one ends, whatever comes of it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator

import pytest

from spark_activator.cli.aside import aside, each_aside


def test_what_it_returns_or_raises_is_handed_on() -> None:
    assert aside(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0)
    # No exception of those that one handles: nobody would wait for the thread that it ended.
    with pytest.raises(SystemExit) as ended:
        aside(lambda: sys.exit(3))
    assert ended.value.code == 3


def test_ctrl_c_ends_the_wait_and_not_what_is_waited_for() -> None:
    go_on, over = threading.Event(), threading.Event()
    heard: list[bool] = []

    def act() -> None:
        heard.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        signal.raise_signal(signal.SIGINT)  # blocked here, so that nothing happens
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        go_on.wait(60)
        over.set()

    with pytest.raises(KeyboardInterrupt):
        aside(act)
    assert heard == [True]
    assert not over.is_set()
    go_on.set()
    assert over.wait(60)


def test_source_that_is_left_early_is_closed_at_its_next_item() -> None:
    closed, go_on = threading.Event(), threading.Event()

    def count() -> Generator[int, None, None]:
        try:
            yield 1
            go_on.wait(60)
            yield 2
        finally:
            closed.set()

    items = each_aside(count)
    assert next(items) == 1
    items.close()
    assert not closed.is_set()
    go_on.set()
    assert closed.wait(60)

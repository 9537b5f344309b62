"""What Ctrl-C must not reach into, done in a thread of its own.

Python raises KeyboardInterrupt between any two steps of the main thread.  Inside a
library that may be where it holds a lock that it then never gives back: who cleans up
waits for it for ever.  Or it is in a finalizer, which loses it.  A main thread that
only waits has neither.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

# Seconds.  A signal between Python's look for signals and the wait does not end the wait.
LOOK = 0.5


def aside(act: Callable[[], T]) -> T:
    """Return what *act* returns, or raise what it raises.

    Raises:
        KeyboardInterrupt: Ctrl-C; *act* goes on until it ends, or the process does.
    """

    def once() -> Generator[T, None, None]:
        yield act()

    [result] = each_aside(once)
    return result


def each_aside(items: Callable[[], Generator[T, None, None]]) -> Generator[T, None, None]:
    """Yield what *items* yields, or raise what it raises.

    Closed before its end it does not wait for the next item: *items* is closed when
    that comes, unless the process has ended.
    """
    # One written in C: the interrupt finds it waiting, and nothing half done.
    said: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    enough = threading.Event()

    def read() -> None:
        try:
            with closing(items()) as source:
                for item in source:
                    if enough.is_set():
                        return
                    said.put((item,))
        except BaseException as error:  # noqa: BLE001  # raised by whoever waits, else for ever
            said.put(error)
        else:
            said.put(None)

    start(threading.Thread(target=read, daemon=True))
    try:
        while True:
            try:
                told = said.get(timeout=LOOK)
            except Empty:
                continue
            if told is None:
                return
            if isinstance(told, BaseException):
                raise told
            yield told[0]
    finally:
        enough.set()


def start(thread: threading.Thread) -> None:
    """Start *thread*, which is never given Ctrl-C: it would not end what the main thread waits for.

    Starting takes locks too, and is not interrupted.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

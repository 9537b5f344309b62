"""Several of a kind done at once, by threads that do not outlive the process.

Those of `concurrent.futures` do: the interpreter waits for them when it ends, and one
may wait for a hub that is silent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def do_all(
    items: Sequence[T], act: Callable[[T], None], *, hands: int, failed: Callable[[], None]
) -> None:
    """Do *act* to each of *items*, with *hands* threads; return when all have ended.

    Where one raises, *failed* is called so that it ends the others, and its error is raised.
    """
    todo: SimpleQueue[T] = SimpleQueue()
    for item in items:
        todo.put(item)
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> None:
        error = None
        try:
            for item in _taken(todo):
                act(item)
        except BaseException as raised:  # noqa: BLE001  # raised by whoever waits, else for ever
            error = raised
        ended.put(error)

    count = min(hands, len(items))
    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()
    first: BaseException | None = None
    for _ in range(count):
        error = ended.get()
        if error is not None and first is None:
            first = error
            failed()
    if first is not None:
        raise first


def _taken(todo: SimpleQueue[T]) -> Iterator[T]:
    """Yield what others have not taken, until nothing is left."""
    while True:
        try:
            yield todo.get_nowait()
        except Empty:
            return

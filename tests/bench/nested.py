"""The activator with the relay that we did not choose: its epoll inside of trio's.

    python -I nested.py NAME

For `relay.py --nested`: the same lanes and the same pipe, but instead of a thread
a task of trio's that waits for the relay's epoll to be readable.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

import trio

from spark_activator.activator import activation, main
from spark_activator.activator.relay import Relay


class NestedRelay(Relay):
    """A task instead of a thread."""

    async def __aenter__(self) -> Self:
        self._token = trio.lowlevel.current_trio_token()
        trio.lowlevel.spawn_system_task(self._loop)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    async def _loop(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self._turn()


if __name__ == "__main__":
    activation.Relay = NestedRelay
    sys.exit(main.main(sys.argv[1:]))

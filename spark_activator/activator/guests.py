"""Who is connected, and who of them has not said a word yet.

A silent connection is no request: it does not keep the process.  When the
process is about to leave, who is silent is closed, like a web server closes a
kept connection, unless something has just arrived from it.
"""

from __future__ import annotations

import math
from typing import Final

import trio

from spark_activator.activator.wire import Wire

# Between a client's connect and its first byte.  Where the listener defers
# accepts (DeferAcceptSec=), who is silent has been so for seconds already.
SILENCE: Final = 1.0


class Guests:
    """All open connections.

    Attributes:
        count: How many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._silent: dict[Wire, float] = {}  # when they came, oldest first
        self._none = trio.Event()

    def came(self, client: Wire) -> None:
        """Note that *client* was accepted."""
        self.count += 1
        self._silent[client] = trio.current_time()

    def spoke(self, client: Wire) -> None:
        """Note that something has come from *client*."""
        self._silent.pop(client, None)

    def left(self, client: Wire) -> None:
        """Note that the connection of *client* is closed."""
        self.spoke(client)
        self.count -= 1
        if not self.count:
            self._none.set()

    def leave_at(self, idle_at: float) -> float:
        """The moment from which nobody needs us, where no request does from *idle_at* on."""
        if self.count > len(self._silent):
            return math.inf
        if not self._silent:
            return idle_at
        return max(idle_at, self._silent[next(reversed(self._silent))] + SILENCE)

    def hang_up(self) -> bool:
        """Close on those that are silent; False when one has just spoken."""
        closed = [client.hang_up() for client in self._silent]
        return all(closed)

    async def wait_none(self) -> None:
        """Wait until nobody is connected."""
        while self.count:
            self._none = trio.Event()
            await self._none.wait()

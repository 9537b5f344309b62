"""When to leave: the decision, without a clock of its own.

What counts is a *request in flight*: one that needs the engine, from its head
to the end of its answer, held or served.  Open connections, `/health` and
`/v1/models` do not count.

What acts on it is the exit rule, in `activation`: exit 0 only when, after this
decision, an accept has returned EAGAIN and nothing is in flight.
"""

from __future__ import annotations

import math
from typing import Final

# For a process that no client ever reached (a restart, a person's `start`), and
# for one that has nothing to wait for: long enough for a client whose `connect`
# made systemd start us, short enough that nothing of ours stays.
LINGER: Final = 5.0


class IdleClock:
    """Knows from which moment on nobody needs this process; seconds, monotonic.

    Attributes:
        in_flight: Requests that need the engine.
    """

    def __init__(self, timeout: float, now: float) -> None:
        self._timeout = timeout
        self.in_flight = 0
        self._quiet_since = now
        # None: nothing is asked of the runner.  Infinite: the model is loading.
        self._demand_since: float | None = None
        self._dismissed = False

    def request_began(self) -> None:
        """Note a request that needs the engine."""
        self.in_flight += 1
        self._dismissed = False

    def request_ended(self, now: float) -> None:
        """Note that one was answered, refused, or its client left."""
        assert self.in_flight > 0
        self.in_flight -= 1
        self._quiet_since = now

    def demand_began(self) -> None:
        """Note that the model is on its way: it is waited for, whoever still wants it."""
        self._demand_since = math.inf

    def model_ready(self, now: float) -> None:
        """Note that it is there: the idle time starts now, whoever was waiting has left or not."""
        self._demand_since = now

    def demand_ended(self) -> None:
        """Note that there is no model of ours any more: it failed, or was given away."""
        self._demand_since = None

    def touched(self, now: float) -> None:
        """Note that somebody will need the model soon: the idle time starts anew."""
        self._quiet_since = now

    def dismissed(self) -> None:
        """Note that nobody needs the model any more, until the next request."""
        assert not self.in_flight
        self._dismissed = True

    @property
    def leave_at(self) -> float:
        """The moment from which nobody needs us; infinite while somebody does."""
        if self.in_flight:
            return math.inf
        if self._dismissed:
            return -math.inf
        if self._demand_since is None:
            return self._quiet_since + LINGER
        return max(self._quiet_since, self._demand_since) + self._timeout

    @property
    def demanded(self) -> bool:
        """Whether a model is on its way or kept for us."""
        return self._demand_since is not None

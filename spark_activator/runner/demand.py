"""Who wants the model: every open connection of an activator is a claim on it.

A claim ends by `bye`, or by the end of its connection alone; then the model is
kept for a while, for whoever comes back.  Nothing here waits for a peer: lines
go into a bounded outbox, and a peer that does not read loses its connection.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import trio

from spark_activator.protocol import FromRunner, Queued, Ready, Starting, Stopping, Usage, Yield
from spark_activator.runner.gpu_files import boottime

# How long the model is kept for an activator that was lost.  systemd restarts
# one within a second; its own timeouts (start of a slow machine) are below this.
KEPT = 30.0
# Lines that a peer may be behind before it counts as not reading.
OUTBOX = 64
# After the last line a peer has this long to read it and close.
CLOSE_LIMIT = 10.0


class Standing(Enum):
    """What a claim still means."""

    WANTS = 1  # it is demand
    LEAVING = 2  # it was told to yield, and finishes what is in flight
    DISMISSED = 3  # it has had its last line


class Claim:
    """One activator's connection.

    Attributes:
        standing: What it still means.
        in_flight: Requests that it holds or serves.
        held: Of those, the ones that were held when the engine became ready.
        waits: It waits although it has no request: somebody typed `warm`.
        since: When it came, CLOCK_BOOTTIME.
        lines: What is to be sent to it.
        scope: The connection's life; its deadline is set with the last line.
    """

    def __init__(self) -> None:
        self.standing = Standing.WANTS
        # Until it has said so it is taken to be busy: it came for a request.
        self.in_flight = 1
        self.held = 0
        self.waits = False
        self.since = boottime()
        self._outbox, self.lines = trio.open_memory_channel[FromRunner](OUTBOX)
        self.scope = trio.CancelScope()

    def busy(self, in_flight: int, held: int | None) -> None:
        """Take in how many requests it has; *held* None: said before it knew of the engine."""
        self.in_flight = max(0, in_flight)
        self.held = min(self.in_flight, self.held if held is None else max(0, held))

    def say(self, line: FromRunner) -> None:
        """Send *line* without waiting."""
        try:
            self._outbox.send_nowait(line)
        except trio.WouldBlock:
            self.scope.cancel()
        except trio.BrokenResourceError:
            pass  # its connection has just ended

    def dismiss(self, line: FromRunner | None = None) -> None:
        """Say the last *line*; from now on it is no demand."""
        if self.standing is Standing.DISMISSED:
            return
        if line is not None:
            self.say(line)
        self.standing = Standing.DISMISSED
        self.scope.deadline = trio.current_time() + CLOSE_LIMIT


class Demand:
    """All claims on one model.

    Attributes:
        count: Takes in what API keys have had.
    """

    def __init__(self, count: Callable[[Usage], None] = lambda _: None) -> None:
        self.count = count
        self.claims: set[Claim] = set()
        self._current: FromRunner | None = None
        self._kept_until = float("-inf")
        self._kept_in_flight = 0
        self._changed = trio.Event()

    @property
    def wanting(self) -> list[Claim]:
        """The claims that are demand, oldest first."""
        wanting = (claim for claim in self.claims if claim.standing is Standing.WANTS)
        return sorted(wanting, key=lambda claim: claim.since)

    @property
    def wanted(self) -> bool:
        """Whether there is demand, or was until a moment ago."""
        return bool(self.wanting) or trio.current_time() < self._kept_until

    @property
    def in_flight(self) -> int:
        """Requests of all claims, also of one that was lost and may come back."""
        kept = self._kept_in_flight if trio.current_time() < self._kept_until else 0
        return kept + sum(
            claim.in_flight for claim in self.claims if claim.standing is not Standing.DISMISSED
        )

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for the engine; an activator whose clients have left does not."""
        return self.in_flight > 0 or any(claim.waits for claim in self.wanting)

    @property
    def held(self) -> int:
        """Requests in flight for which the engine was brought up."""
        return sum(claim.held for claim in self.claims if claim.standing is not Standing.DISMISSED)

    @property
    def since(self) -> float:
        """When the oldest demand came, CLOCK_BOOTTIME."""
        return min((claim.since for claim in self.wanting), default=boottime())

    def join(self, claim: Claim) -> None:
        """A new claim; it hears at once how things are."""
        self.claims.add(claim)
        # Who was lost has come back, or somebody else has come.
        self._kept_until = float("-inf")
        if self._current is not None:
            claim.say(self._current)
        self.notify()

    def leave(self, claim: Claim, *, lost: bool) -> None:
        """The connection of *claim* has ended; *lost* without a word."""
        self.claims.discard(claim)
        if lost and claim.standing is Standing.WANTS and not self.wanting:
            self.keep(KEPT, claim.in_flight)
        self.notify()

    def keep(self, seconds: float, in_flight: int) -> None:
        """Count as wanted for *seconds* although nobody is there."""
        self._kept_until = trio.current_time() + seconds
        self._kept_in_flight = in_flight
        self.notify()

    def tell(self, line: Queued | Starting | Ready) -> None:
        """Say how things are to all, and to whoever comes until the next line."""
        if line == self._current:
            return
        self._current = line
        for claim in self.wanting:
            claim.say(line)

    def brought_up(self) -> None:
        """The engine is ready: whoever is there now is whom it was brought up for."""
        for claim in self.wanting:
            claim.held = claim.in_flight

    def close(self, line: Queued) -> None:
        """From now on who comes is for the next activation, and hears *line*."""
        self._current = line

    def dismiss(self, line: FromRunner) -> None:
        """Say the last *line* to all; nobody is kept for."""
        for claim in [claim for claim in self.claims if claim.standing is not Standing.DISMISSED]:
            claim.dismiss(line)
        self._forget()

    def ask_to_yield(self, reason: str) -> None:
        """Have all finish what is in flight and leave; see `wait_yielded`."""
        for claim in self.wanting:
            claim.standing = Standing.LEAVING
            claim.say(Yield(reason))
        self._forget()

    def end_leaving(self) -> None:
        """Dismiss those that have not left in time."""
        for claim in self.claims:
            if claim.standing is Standing.LEAVING:
                claim.dismiss(Stopping())
        self.notify()

    async def wait_yielded(self) -> None:
        """Return when nobody is leaving any more."""
        while any(claim.standing is Standing.LEAVING for claim in self.claims):
            await self.wait_change()

    async def wait_unwanted(self) -> None:
        """Return when there is no demand; nothing has happened since on return."""
        while self.wanted:
            if self.wanting:
                await self.wait_change()
            else:
                with trio.move_on_at(self._kept_until):
                    await self.wait_change()

    async def wait_change(self) -> None:
        """Return after the next change of anything here."""
        await self._changed.wait()

    def notify(self) -> None:
        """Wake everybody who waits for a change."""
        self._changed.set()
        self._changed = trio.Event()

    def _forget(self) -> None:
        self._kept_until = float("-inf")
        self.notify()

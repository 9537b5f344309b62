"""What must hold whatever a test did, checked on what the node wrote meanwhile.

1. Leased memory stays within the budget, and an exclusive model is alone.
2. Never two engines initialise at once.
3. No engine is stopped with requests in flight before its drain's deadline.
4. Every request ended in exactly one declared outcome.

Pure: entries of the journal in, sentences out.  A lease counts from the moment
when its holder has it to the moment before it gives it back, by the holder's own
stamps, so that two neighbours in time never overlap by the journal's doing.  In
the gap between the death of a runner and its return nothing is counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spark_activator.activator.endings import Outcome
from spark_activator.errors import REFUSALS
from spark_activator.facts import Fact, parse

UNIT = re.compile(r"spark-(model|runner)@(.+)\.service")
# See systemd's sd-messages.h: a unit's process ended badly, and: a unit ended well.
EXITS = {"98e322203f7a4ed290d09fe03c09fe15", "7ad2d189f7e94e70a38c781354912448"}
EXITED = "exited"
# What an engine's end by itself, or a start that failed, has cut nobody stopped.
NOT_OURS = {"exited", "failed"}
# How a client says that its request ended, and what may stand in the journal.
AGREES = {
    "complete": {Outcome.ANSWERED, Outcome.LEFT},  # it may close before the last byte
    "refused": {Outcome.REFUSED, Outcome.ANSWERED},  # engines refuse too
    "cut": {Outcome.CUT, Outcome.LEFT},
    "left": {Outcome.LEFT, Outcome.ANSWERED},
}


@dataclass(frozen=True, slots=True)
class Event:
    """One fact, or the end of a process.

    Attributes:
        part: "runner" or "model", as in the unit's name.
        process: Who wrote it; 0 for what systemd wrote.
    """

    at: float
    part: str
    model: str
    process: int
    fact: Fact


def read(entries: Iterable[Mapping[str, Any]], offset: float) -> Iterator[Event]:
    """Read entries as `journalctl -o json` has them.

    Args:
        offset: What CLOCK_BOOTTIME is ahead of CLOCK_REALTIME, in seconds; negative.
    """
    for entry in entries:
        message = entry.get("MESSAGE")
        ended = entry.get("MESSAGE_ID") in EXITS
        found = UNIT.fullmatch(str(entry.get("UNIT" if ended else "_SYSTEMD_UNIT", "")))
        if found is None:
            continue
        if ended:
            stamp = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"]
            at = int(stamp) / 1e6 + offset
            yield Event(at, found[1], found[2], 0, Fact(EXITED, {}, at))
        elif isinstance(message, str) and (said := parse(message)) is not None:
            yield Event(said.at, found[1], found[2], int(entry.get("_PID", 0)), said)


def read_lines(text: str, offset: float) -> list[Event]:
    """Read the output of `journalctl -o json`, in the order of the stamps."""
    entries = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return sorted(read(entries, offset), key=lambda event: event.at)


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop of an engine; *drained* is when and how long it might, None without."""

    at: float
    model: str
    activation: str
    why: str
    drain: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Request:
    """One request's end."""

    model: str
    outcome: str
    activation: str
    served_from: float
    until: float


@dataclass
class Checker:
    """Knows what is held, from event to event; `take_in` says what is wrong."""

    leases: dict[str, tuple[int, str]] = field(default_factory=dict)
    initialising: set[str] = field(default_factory=set)
    requests: dict[str, Request] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)
    budget: int = 0
    _drains: dict[str, tuple[float, float]] = field(default_factory=dict)
    _ended: Counter[int] = field(default_factory=Counter)
    _wrong: list[str] = field(default_factory=list)

    def take_in(self, events: Iterable[Event]) -> list[str]:
        """Take in what happened since, in the order of time; return what must not be."""
        self._wrong, stops, known = [], len(self.stops), set(self.requests)
        for event in events:
            {"runner": self._runner, "model": self._activator}[event.part](event)
        for stop in self.stops:
            new = stop in self.stops[stops:]
            self._judge(stop, [r for i, r in self.requests.items() if new or i not in known])
        return self._wrong

    def compare(self, told: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return where the journal says something else than clients do, or nothing."""
        wrong = []
        for one in told:
            request = self.requests.get(one.get("id") or "")
            if request is None:
                # A client that is cut, or gets nothing, may have met a process that died.
                if one["ended"] in ("complete", "left"):
                    wrong.append(f"nothing is said of the request that ended so: {one}")
            elif request.outcome not in AGREES.get(one["ended"], ()) and not (
                # The activator sees no more than that the engine closed the connection.
                one["ended"] == "cut" and request.outcome == "answered" and self._died(request)
            ):
                wrong.append(f"{one} is in the journal as {request}")
        return wrong

    def _died(self, request: Request) -> bool:
        """Whether the engine of *request* ended under it: by itself, or after a drain's end."""
        return any(
            stop.activation == request.activation
            and (stop.why in NOT_OURS or (stop.drain is not None and stop.at >= sum(stop.drain)))
            for stop in self.stops
        )

    def _runner(self, event: Event) -> None:
        model, values = event.model, event.fact.values
        match event.fact.what:
            case "lease taken" | "lease kept":
                self.budget = int(values.get("budget", self.budget))
                self.leases[model] = (int(values["memory"]), values.get("lifecycle", ""))
                self._judge_leases(event)
            case "initialises":
                others = self.initialising - {model}
                if others:
                    self._wrong.append(f"{event.at}: {model} initialises beside {sorted(others)}")
                self.initialising.add(model)
            case "initialised":
                self.initialising.discard(model)
            case "drains":
                self._drains[model] = (event.at, float(values["limit"]))
            case "stops the engine":
                drain = self._drains.pop(model, None)
                self.stops.append(Stop(event.at, model, values["activation"], values["why"], drain))
            case "lease freed":
                self._free(model)
            case "exited":
                self._free(model)
                self._drains.pop(model, None)

    def _free(self, model: str) -> None:
        self.leases.pop(model, None)
        self.initialising.discard(model)

    def _judge_leases(self, event: Event) -> None:
        total = sum(memory for memory, _ in self.leases.values())
        if self.budget and total > self.budget:
            held = {model: memory for model, (memory, _) in self.leases.items()}
            self._wrong.append(f"{event.at}: {total} of {self.budget} bytes are leased: {held}")
        alone = [model for model, (_, kind) in self.leases.items() if kind == "exclusive"]
        if alone and len(self.leases) > 1:
            self._wrong.append(f"{event.at}: {alone} is not alone: {sorted(self.leases)}")

    def _activator(self, event: Event) -> None:
        values = event.fact.values
        match event.fact.what:
            case "request ended":
                self._ended[event.process] += 1
                self._judge_request(event)
                until, served = float(values["until"]), float(values["served"])
                self.requests[values["id"]] = Request(
                    event.model, values["outcome"], values["activation"], until - served, until
                )
            case "leaves":
                counts = int(values["requests"]), int(values["ended"])
                ended = self._ended.pop(event.process, 0)
                if counts != (ended, ended):
                    self._wrong.append(
                        f"{event.at}: the activator of {event.model} leaves after {counts[0]}"
                        f" requests, and {ended} have ended"
                    )
            case "exited":
                pass

    def _judge_request(self, event: Event) -> None:
        values = event.fact.values
        name, outcome = f"request {values['id']} of {event.model}", values["outcome"]
        if values["id"] in self.requests:
            self._wrong.append(f"{event.at}: {name} ended twice")
        if outcome not in set(Outcome):
            self._wrong.append(f"{event.at}: {name} ended as {outcome!r}")
        elif outcome == Outcome.REFUSED and values["code"] not in REFUSALS:
            self._wrong.append(f"{event.at}: {name} was refused for {values['code']!r}")

    def _judge(self, stop: Stop, requests: Iterable[Request]) -> None:
        if stop.why in NOT_OURS:
            return
        if stop.drain is not None and stop.at >= sum(stop.drain):
            return
        for request in requests:
            if request.activation == stop.activation and (
                request.served_from < stop.at < request.until
            ):
                self._wrong.append(f"{stop} cut {request} before the drain's deadline")

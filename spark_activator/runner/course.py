"""One activation while it goes on: what it works with, and how far it is."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from spark_activator.catalog.model import Keep, Lifecycle, Model
from spark_activator.layout import Layout
from spark_activator.runner import history, settings
from spark_activator.runner.board import Board
from spark_activator.runner.demand import Demand
from spark_activator.runner.ending import Ending, Why
from spark_activator.runner.engine import Engine, LastLines
from spark_activator.runner.lease import Ledger
from spark_activator.runner.memory import Gauge, Memory
from spark_activator.runner.plan import LeaseState
from spark_activator.runner.progress import Tracker
from spark_activator.state import Phase

logger = logging.getLogger(__name__)

_WAITING_FOR = {
    Phase.CONTAINER: "the engine to start",
    Phase.WEIGHTS: "the engine to read its weights",
    Phase.COMPILE: "the engine to compile",
    Phase.GRAPHS: "the engine to capture CUDA graphs",
    Phase.WARMUP: "the engine's first token",
}


@dataclass(frozen=True, slots=True)
class Tools:
    """What an activation works with; *clear_others* removes engines of runners that are gone."""

    layout: Layout
    model: Model
    config: str
    ledger: Ledger
    demand: Demand
    board: Board
    engine: Engine
    clear_others: Callable[[], Awaitable[None]]

    @property
    def upstream(self) -> Path:
        """Where the directories of the model's activations are."""
        return self.layout.upstream(self.model.name)


class Course:
    """How far one activation is.

    Attributes:
        tools: What it works with.
        ending: Why it ends.
        restored: Whether the lease was held by a process before us.
        started: The engine is there.
        ready: It can generate.
        exited: It has ended by itself, see *how*.
        answers: Its log no longer says how far it is: we ask it ourselves.
        moved: When the start last made progress.
        host: What is true of the machine.
        gauge: How much memory there is.
        on_gpu: Whether the engine's memory is the GPU's.
        served_before: Whether it served when a process before us ended.
        seconds: How long the start took, None until it is ready.
        used: The most bytes that the engine took while it loaded, None where unknown.
        before_end: Bytes that were available before it was ended, None until then.
        last: The end of its log.
    """

    def __init__(
        self, tools: Tools, ending: Ending, *, restored: bool, told_to_stop: Callable[[], bool]
    ) -> None:
        self.tools = tools
        self.ending = ending
        self.restored = restored
        self.started = trio.Event()
        self.ready = trio.Event()
        self.exited = trio.Event()
        self.how = ""
        self.answers = False
        self.moved = trio.current_time()
        self.host = settings.load_host(tools.layout)
        self.gauge = Gauge(tools.layout.proc, self.host)
        self.on_gpu = tools.model.image is None or not tools.model.image.cpu
        self.served_before = restored and tools.ledger.lease.state is not LeaseState.STARTING
        self.seconds: float | None = None
        self.used: int | None = None
        self.before_end: int | None = None
        self.last = LastLines()
        self._began = trio.current_time()
        self._told_to_stop = told_to_stop
        self._tracker = Tracker()
        past = history.read_last(tools.layout.history(tools.model.name))
        self._typical = history.typical_start(past, tools.config)

    def hear(self, line: str) -> None:
        """Take in one line of the engine's log."""
        self.last.add(line)
        self.moved = trio.current_time()
        if self._tracker.hear(line) and not self.answers and self.ending.why is None:
            self.show_progress()

    def note_memory(self, reading: Memory) -> None:
        """Take in a reading of the time in which it alone initialises."""
        baseline = self.tools.ledger.lease.baseline
        if baseline is not None and not self.restored:
            taken = baseline - reading.room(on_gpu=self.on_gpu).available
            self.used = max(0, self.used or 0, taken)

    def show_progress(self) -> None:
        """Show what the log says of the start."""
        self.show(self._tracker.now.phase)

    def show(self, phase: Phase, waiting_for: str = "") -> None:
        """Show *phase*, with what is known of how long it takes."""
        eta = None
        if phase in _WAITING_FOR and self._typical is not None:
            eta = max(0.0, self._typical - self.since_start())
        self.tools.board.show(
            phase,
            waiting_for or _WAITING_FOR.get(phase, ""),
            activation=self.tools.ledger.lease.activation,
            progress=self._tracker.now.share if phase is self._tracker.now.phase else None,
            eta=eta,
            stopped_by="" if self.ending.why is None else self.ending.words,
        )

    @property
    def stays(self) -> bool:
        """Whether it is kept although nobody asks."""
        return self.tools.model.keep is Keep.ALWAYS

    @property
    def comes_back(self) -> bool:
        """Whether it went for somebody, and comes back by itself."""
        utility = self.tools.model.lifecycle is Lifecycle.UTILITY
        return self.stays and utility and self.ending.why is Why.YIELD

    @property
    def available(self) -> int:
        """Bytes that are available where the engine takes its memory."""
        return self.gauge.read().room(on_gpu=self.on_gpu).available

    def told_to_stop(self) -> bool:
        """Say whether the process has to go, also where this ends for another reason."""
        return self._told_to_stop()

    def since_start(self) -> float:
        """Return seconds since the lease was ours."""
        return trio.current_time() - self._began

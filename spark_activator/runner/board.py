"""What is going on, for everybody who looks: the state file, systemd's status, the claims.

Writing is never fatal: who looks sees the moment before.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from spark_activator import notify
from spark_activator.protocol import Queued, Ready, Starting
from spark_activator.runner.demand import Demand
from spark_activator.runner.gpu_files import boottime
from spark_activator.runner.lock import write_text
from spark_activator.state import Phase, State

logger = logging.getLogger(__name__)

_STARTING = {
    Phase.MEMORY,
    Phase.CONTAINER,
    Phase.WEIGHTS,
    Phase.COMPILE,
    Phase.GRAPHS,
    Phase.WARMUP,
}


class Board:
    """Shows one model's state; only what changed is written."""

    def __init__(self, file: Path, name: str, demand: Demand) -> None:
        self._file = file
        self._name = name
        self._demand = demand
        self._shown: State | None = None
        self.began: dict[Phase, float] = {}

    def begin(self) -> None:
        """A new activation."""
        self.began = {}
        self._shown = None

    def show(
        self,
        phase: Phase,
        waiting_for: str = "",
        *,
        activation: str | None = None,
        progress: float | None = None,
        eta: float | None = None,
        stopped_by: str = "",
    ) -> None:
        """Show where we are; the claims hear it too where it concerns them."""
        since = self.began.setdefault(phase, boottime())
        state = State(
            self._name, phase, since, waiting_for, activation, self._demand.in_flight,
            progress=progress, eta=eta, stopped_by=stopped_by,
        )  # fmt: skip
        self._write(state)
        if phase in _STARTING:
            self._demand.tell(Starting(phase, progress, None if eta is None else round(eta)))
        elif phase is Phase.READY and activation is not None:
            self._demand.tell(Ready(activation))

    def show_queued(self, line: Queued, waiting_for: str) -> None:
        """Show where we are in the queue; the claims hear *line*."""
        since = self.began.setdefault(Phase.QUEUED, boottime())
        in_flight = self._demand.in_flight
        state = State(
            self._name, Phase.QUEUED, since, waiting_for, None, in_flight,
            line.position, line.ahead,
        )  # fmt: skip
        self._write(state)
        self._demand.tell(line)

    def refresh(self) -> None:
        """Show the requests in flight as they are now."""
        if self._shown is not None:
            self._write(replace(self._shown, in_flight=self._demand.in_flight))

    def clear(self) -> None:
        """Show that nothing is going on."""
        self._shown = None
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("Failed to remove the state, ignoring: %s", error)

    def _write(self, state: State) -> None:
        if state == self._shown:
            return
        if self._shown is None or self._shown.phase is not state.phase:
            logger.info("%s", state.sentence())
        self._shown = state
        notify.status(state.sentence())
        try:
            self._file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            # For everybody who looks, nginx among them.
            write_text(self._file, state.to_json(), mode=0o644)
        except OSError as error:
            logger.warning("Failed to write the state, ignoring: %s", error)

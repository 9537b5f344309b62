"""How far a start is: one line that changes, on a terminal; else a line for each phase."""

from __future__ import annotations

from typing import TextIO

from spark_activator.state import State


class Progress:
    """What is shown on *stream* until somebody calls `end`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._shown = ""

    def show(self, state: State | None) -> None:
        """Show *state*, where it is another than before."""
        if state is None:
            return
        text = state.sentence() if self._terminal else str(state.phase)
        if text == self._shown:
            return
        self._shown = text
        if self._terminal:
            # To the line's beginning, and what was there is erased.
            print(f"\r\033[K{text}", end="", file=self._stream, flush=True)
        else:
            print(text, file=self._stream, flush=True)

    def end(self) -> None:
        """Take the changing line away."""
        if self._terminal and self._shown:
            print("\r\033[K", end="", file=self._stream, flush=True)
            self._shown = ""

"""How far a download is: a bar at a terminal, a line now and then otherwise."""

from __future__ import annotations

import threading
import time
from typing import TextIO

from spark_activator.weights.place import size

WIDTH = 24
# A person sees movement; a log does not fill.
BAR_EVERY = 0.2
LINE_EVERY = 30.0
# The rate is that of the last so many seconds.
RATE_OVER = 10.0


class Progress:
    """Bytes of one repository, counted by several threads.

    Args:
        total: Bytes of all files.
        there: Bytes that were there before.
        stream: Where it is shown.
    """

    def __init__(self, total: int, there: int, stream: TextIO) -> None:
        self._total = max(total, 1)
        self._done = there
        self._stream = stream
        self._bar = stream.isatty()
        self._lock = threading.Lock()
        self._over = False
        self._shown = time.monotonic()
        self._marks = [(self._shown, there)]

    def add(self, count: int) -> None:
        """Count *count* bytes more; fewer, where a file had to begin anew."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            # A thread that is late must not write as the process ends.
            if not self._over and now - self._shown >= (BAR_EVERY if self._bar else LINE_EVERY):
                self._shown = now
                self._show(now)

    def end(self) -> None:
        """Show the last state, and leave the line."""
        with self._lock:
            self._over = True
            self._show(time.monotonic())
            if self._bar:
                print(file=self._stream, flush=True)

    def _show(self, now: float) -> None:
        share = min(self._done / self._total, 1.0)
        self._marks = [mark for mark in self._marks if now - mark[0] <= RATE_OVER] or [
            self._marks[-1]
        ]
        since, before = self._marks[0]
        self._marks.append((now, self._done))
        rate = max(self._done - before, 0) / (now - since) if now > since else 0.0
        words = f"{size(self._done)} of {size(self._total)}, {share:.0%}"
        if 0 < self._done < self._total and rate > 0:
            words += f", {size(rate)}/s, {_left((self._total - self._done) / rate)} left"
        if not self._bar:
            print(f"    {words}", file=self._stream, flush=True)
            return
        full = int(share * WIDTH)
        # Cleared first: the line before may have been longer.
        line = f"\r\x1b[K    [{'#' * full}{'.' * (WIDTH - full)}] {words}"
        print(line, end="", file=self._stream, flush=True)


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"

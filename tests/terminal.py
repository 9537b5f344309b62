"""Typing at `spark-model`."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path


class Terminal:
    """`spark-model` in a session of its own, with a terminal that somebody types at.

    It is started by `setsid`, not forked: whoever tests has threads, and a fork of those
    may hang.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str] = os.environ) -> None:
        self._outer, inner = pty.openpty()
        # Whoever runs the tests may ignore SIGINT, and children inherit that.
        words = ["setsid", "--ctty", "--wait", "env", "--default-signal=INT", sys.executable]
        self._process = subprocess.Popen(
            [*words, "-m", "spark_activator", *arguments],
            env={**environment, "TERM": "dumb"}, stdin=inner, stdout=inner, stderr=inner,
        )  # fmt: skip
        os.close(inner)
        self.said = ""
        self._read_to = 0

    def type(self, text: str) -> None:
        os.write(self._outer, text.encode())

    def interrupt_while_it_stands_still(self) -> None:
        """Stop the process, type Ctrl-C, and have it go on when the signal is there."""
        pid = self._process.pid
        os.kill(pid, signal.SIGSTOP)
        self._wait_for_status(pid, r"State:\s*T")
        self.type("\x03")
        self._wait_for_status(pid, rf"ShdPnd:\s*0*{1 << (signal.SIGINT - 1):x}\b")
        os.kill(pid, signal.SIGCONT)

    @staticmethod
    def _wait_for_status(pid: int, pattern: str) -> None:
        while not re.search(pattern, Path(f"/proc/{pid}/status").read_text()):
            time.sleep(0.01)  # noqa: TID251  # the kernel tells nobody

    def wait_for(self, text: str) -> None:
        """Read until *text* comes after what was waited for last."""
        while (at := self.said.find(text, self._read_to)) < 0:
            piece = self._read()
            assert piece, f"ended without {text!r}: {self.said!r}"
            self.said += piece
        self._read_to = at + len(text)

    def end(self) -> int:
        while piece := self._read():
            self.said += piece
        return self._process.wait(60)

    def _read(self) -> str:
        try:
            return os.read(self._outer, 4096).decode(errors="replace")
        except OSError:  # what Linux says when the other side has ended
            return ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        os.close(self._outer)

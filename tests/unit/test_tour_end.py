"""The tour of `./install.sh --demo` stays until it is told to go, whenever that is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOUR = Path(__file__).parents[2] / "install/tour"
# Presses Ctrl-C as soon as the terminal has the words that say so.
PROGRAM = """
import os, runpy, signal, sys

sys.path.insert(0, sys.argv[1])
module = runpy.run_path(sys.argv[1] + "/__main__.py")
tour = module["tour"]
tour.__globals__["show"] = lambda model: None
number = signal.Signals[sys.argv[2]]

class Terminal:
    def write(self, text):
        if "Ctrl-C ends it" in text:
            os.kill(os.getpid(), number)
    def flush(self):
        pass

class Model:
    port = 1
    def set_up(self):
        pass

sys.stdout = Terminal()
sys.exit(tour(Model(), once=False))
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signal_as_soon_as_it_stays_is_the_end_that_was_asked_for(number: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(TOUR), number],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")

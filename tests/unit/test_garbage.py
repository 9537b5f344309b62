"""What a test leaves unclosed is blamed on it, and not on who comes after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
LEAVING = """
import subprocess, sys
import pytest

class Ring:
    def __init__(self, thing):
        self.thing, self.ring = thing, self

def left():
    return Ring(open(__file__))

def test_before():
    pass

def test_leaves():
    left()

@pytest.fixture
def given():
    return left()

def test_leaves_what_a_fixture_gave(given):
    pass

def test_fails_in_the_middle():
    child = subprocess.Popen([sys.executable, "-V"], stdout=subprocess.PIPE)
    raise AssertionError

def test_after():
    pass

def test_last():
    import gc
    gc.unfreeze()
    gc.collect()
"""


def test_who_leaves_garbage_is_blamed_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "test_leaving.py").write_text(LEAVING)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "garbage", "-W", "error"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:schemathesis", "test_leaving.py"],
        cwd=tmp_path, env={"PYTHONPATH": str(TESTS)}, capture_output=True, text=True,
    )  # fmt: skip

    said = [line.partition(" - ")[0] for line in done.stdout.splitlines()]
    assert {line for line in said if line.startswith(("FAILED", "ERROR "))} == {
        "ERROR test_leaving.py::test_leaves",
        "ERROR test_leaving.py::test_leaves_what_a_fixture_gave",
        "FAILED test_leaving.py::test_fails_in_the_middle",
    }, done.stdout
    assert "PASSED test_leaving.py::test_last" in said

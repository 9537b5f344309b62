"""`./install.sh --demo` as root, on the machine that runs the tests: all real, nothing left.

That it ends by itself, and how it fails, is shown in the node (test_install.py).
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from node import PATIENCE

ROOT = Path(__file__).parents[2]
pytestmark = [
    # The first one installs, with two nodes beside it that do the same.
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="the private manager is root's"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the code is installed once for these tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def environment(data: Path) -> dict[str, str]:
    return os.environ | {"XDG_DATA_HOME": str(data)}


@pytest.fixture(autouse=True)
def nothing_left(data: Path) -> Iterator[None]:
    """Compare what the tour could leave behind on this machine."""
    before = leftovers(data)
    yield
    # Another run's tour may begin meanwhile: what is its goes with it, ours would stay.
    deadline = time.monotonic() + PATIENCE
    while added := leftovers(data) - before:
        assert time.monotonic() < deadline, added


def leftovers(data: Path) -> set[str]:
    """Cgroups, mounts and processes of tours, and not what others do on this machine."""
    # Not rglob: others take their cgroups away while it looks.
    found = (Path(where, name) for where, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    left = {str(path) for path in found if path.name.startswith("spark-demo-")}
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    left.update(line for line in mounts if "cgroup2" in line)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The manager hands the variable on to its units, but the engine has not got it.
                command = (entry / "cmdline").read_bytes()
                if str(data).encode() in command + (entry / "environ").read_bytes():
                    left.add(f"{entry.name} {command!r}")
            except OSError:
                continue
    return left


def test_it_shows_every_step_and_stays_until_ctrl_c(environment: dict[str, str]) -> None:
    terminal, inner = pty.openpty()
    # Whoever runs the tests in the background has Ctrl-C ignored, and so would this.
    interruptible = ["env", "--default-signal=INT"]
    # Its own session with that terminal, so that Ctrl-C reaches what a shell's would.
    tour = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *interruptible, str(ROOT / "install.sh"), "--demo"],
        env=environment, stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    said = read_until(terminal, "Ctrl-C ends it")
    labels = re.findall(r"^    (\w+(?: \w+)?)  ", said, re.MULTILINE)
    assert [label for label in labels if label not in {"starting", "Try it"}] == [
        "listening", "cold start", "running", "streamed", "warm", "idle exit", "nothing",
    ]  # fmt: skip
    assert tour.poll() is None

    os.write(terminal, b"\x03")

    said += read_until(terminal, None)
    assert tour.wait() == 0, said
    assert "ended       no process, unit or socket of the tour is left" in said


def test_sigterm_takes_everything_along(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [ROOT / "install.sh", "--demo", "--once"], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as tour:  # fmt: skip
        assert tour.stdout is not None
        for line in tour.stdout:
            if line.startswith("    listening"):
                break
        tour.send_signal(signal.SIGTERM)
        said = tour.stdout.read()

    assert tour.returncode == 1, said
    assert "ended by a signal" in said


def read_until(terminal: int, text: str | None) -> str:
    """Read until *text* has come, or to the end."""
    found = ""
    while text is None or text not in found:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        found += piece.decode(errors="replace")
    return found

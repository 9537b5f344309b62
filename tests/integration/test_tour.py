"""`./install.sh --demo` as root, on the machine that runs the tests: all real, nothing left."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.timeout(170),
    pytest.mark.skipif(os.geteuid() != 0, reason="the private manager is root's"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the code is installed once for these tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def environment(data: Path) -> dict[str, str]:
    return os.environ | {"XDG_DATA_HOME": str(data)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the working tree that a test may change."""
    names = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "-z",
         "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in names:
        source = ROOT / name
        if name and source.is_file() and not name.startswith("tests/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tmp_path / name)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Compare what the tour could leave behind on this machine."""
    before = leftovers()
    yield
    assert leftovers() == before


def leftovers() -> tuple[list[str], list[str], list[str]]:
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").rglob("spark-demo-*")]
    mounts = [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if "cgroup2" in line
    ]
    running = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if re.search(r"demo-echo|install/tour|private-manager|systemd --user", command):
                running.append(command)
    return cgroups, mounts, sorted(running)


def test_the_tour_shows_every_step_and_ends_by_itself(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [ROOT / "install.sh", "--demo"], env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    labels = re.findall(r"^    (\w+(?: \w+)?)  ", done.stdout, re.MULTILINE)
    steps = [label for label in labels if label != "starting"]
    assert steps == [
        "listening", "cold start", "running", "streamed", "warm", "idle exit", "nothing", "ended",
    ]  # fmt: skip


def test_with_a_terminal_it_stays_until_ctrl_c(environment: dict[str, str]) -> None:
    terminal, inner = pty.openpty()
    # Its own session with that terminal, so that Ctrl-C reaches what a shell's would.
    tour = subprocess.Popen(
        ["setsid", "--ctty", "--wait", str(ROOT / "install.sh"), "--demo"],
        env=environment, stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    said = read_until(terminal, "Ctrl-C ends it")
    assert tour.poll() is None

    os.write(terminal, b"\x03")

    said += read_until(terminal, None)
    assert tour.wait() == 0, said
    assert "ended       no process, unit or socket of the tour is left" in said


def test_a_step_that_fails_shows_why_and_ends_with_1(
    checkout: Path, environment: dict[str, str]
) -> None:
    model = checkout / "models/demo-echo.yaml"
    model.write_text(
        model.read_text().replace(
            "--socket {socket}", "--socket {socket} --exit-at-start 3 --exit-message 'no such luck'"
        )
    )

    done = subprocess.run(
        [checkout / "install.sh", "--demo", "--once"], env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1, done.stdout + done.stderr
    assert "no such luck" in done.stderr
    assert "nothing  " not in done.stdout


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

"""The owner's command for an event, started as systemd starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings

ROOT = Path(__file__).parents[2]


def run(directory: Path, sent: bytes) -> subprocess.CompletedProcess[str]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        return subprocess.run(
            [sys.executable, "-m", "spark_activator.runner.event_command"],
            stdin=theirs,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(directory)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def freeze(directory: Path, *command: str) -> None:
    host = HostSettings(on_event=command)
    (directory / "host.json").write_text(frozen.dump_host(host))


def test_command_gets_the_line_and_no_shell(tmp_path: Path) -> None:
    freeze(tmp_path, "sh", "-c", 'cat; printf %s "$1"', "sh", "$HOME;x")

    result = run(tmp_path, b'{"event":"failed"}\nmore\n')

    assert (result.returncode, result.stdout) == (0, '{"event":"failed"}\n$HOME;x')


def test_exit_status_is_the_commands(tmp_path: Path) -> None:
    freeze(tmp_path, "false")

    assert run(tmp_path, b"{}\n").returncode == 1


@pytest.mark.parametrize("sent", [b"", b"{", b"x" * 9000 + b"\n"])
def test_what_is_no_line_runs_nothing(tmp_path: Path, sent: bytes) -> None:
    freeze(tmp_path, "echo", "ran")

    assert run(tmp_path, sent).stdout == ""


def test_no_command_is_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text("{}")

    assert run(tmp_path, b"{}\n").returncode == 0


def test_command_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    freeze(tmp_path, "/nonexistent/tell-me")

    result = run(tmp_path, b"{}\n")

    assert result.returncode == 1
    assert "Cannot run '/nonexistent/tell-me' (on_event)" in result.stderr
    assert "Traceback" not in result.stderr

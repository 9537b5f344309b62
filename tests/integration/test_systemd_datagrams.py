"""What we say to systemd and what it passes to us, over real sockets."""

import os
import socket
import subprocess
import sys
import threading

import pytest
from demo_engine import ROOT

from spark_activator import notify


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        sock.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def test_ready_carries_one_line_of_status(systemd):
    assert notify.ready("loading\nREADY=0")
    assert systemd.recv(4096) == b"READY=1\nSTATUS=loading READY=0"


def test_stored_descriptor_is_the_same_file(systemd, tmp_path):
    with open(tmp_path / "lease", "w") as lease:
        assert notify.store("lease", lease.fileno())
        message, [fd], _, _ = socket.recv_fds(systemd, 4096, 4)
        assert message == b"FDSTORE=1\nFDNAME=lease"
        assert os.path.sameopenfile(fd, lease.fileno())
        os.close(fd)


def test_barrier_returns_when_systemd_has_read(systemd):
    assert notify.unstore("lease")
    assert not notify.barrier(limit=0.1)

    def read():
        for _ in range(3):
            _, fds, _, _ = socket.recv_fds(systemd, 4096, 4)
            for fd in fds:
                os.close(fd)

    reader = threading.Thread(target=read)
    reader.start()
    assert notify.barrier(limit=60)
    reader.join()


def test_outside_of_systemd_nothing_is_said(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.ready("up")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    assert not notify.status("up")


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
    ],
)
def test_watchdog_wants_twice_the_rate(monkeypatch, variables, interval):
    for key in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(key, raising=False)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert notify.watchdog_interval() == interval


# Takes what was passed, and says what it got and what is left for children.
TAKE = """
import os, sys
from spark_activator import errors, listen
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
passed = listen.inherited()
assert not [key for key in os.environ if key.startswith("LISTEN_")]
assert listen.inherited() == {}
assert not any(os.get_inheritable(fd) for fds in passed.values() for fd in fds)
print({name: len(fds) for name, fds in passed.items()})
try:
    print(listen.listener(passed, "model").type.name)
except errors.UserError as error:
    print(error)
"""


def take(fds, names, pid=""):
    shift = "import os, sys\n" + "".join(
        f"os.dup2({fd}, {90 + i})\n" for i, fd in enumerate(fds)
    )  # out of the way first: they may be 3 and 4 already
    shift += "".join(f"os.dup2({90 + i}, {3 + i})\n" for i in range(len(fds)))
    result = subprocess.run(
        [sys.executable, "-c", shift + TAKE, pid],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_FDNAMES": names,
        },
        pass_fds=fds,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.fixture
def sockets():
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as idle:
        yield listening.fileno(), idle.fileno()


def test_listener_and_stored_descriptors_come_by_name(sockets):
    listening, idle = sockets
    passed, kind = take([listening, idle, idle], "model:lease:lease")
    assert passed == "{'model': 1, 'lease': 2}"
    assert kind == "SOCK_STREAM"


@pytest.mark.parametrize(
    ("which", "names", "pid", "words"),
    [
        ([0], "other", "", "got 0"),
        ([0, 0], "model:model", "", "got 2"),
        ([1], "model", "", "expected a listening stream socket"),
        ([0], "model", "1", "got 0"),
    ],
)
def test_what_is_no_listener_of_ours_is_refused(sockets, which, names, pid, words):
    assert words in take([sockets[i] for i in which], names, pid)[-1]

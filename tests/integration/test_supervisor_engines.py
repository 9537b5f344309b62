"""The supervisor of process engines: a real one, with demo engines, over its socket."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from demo_engine import LIMIT, ROOT, Lines, gone

# Becomes the supervisor with the listener as systemd would pass it.
PASS_LISTENER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="engine")
os.execv(sys.executable, [sys.executable, "-m", "spark_activator.runner.supervisor", *sys.argv[2:]])
"""


class Runner:
    """A runner's connection."""

    def __init__(self, path, order):
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(LIMIT)
        self._sock.connect(str(path))
        self._file = self._sock.makefile("rb")
        try:
            self.send(order)
        except OSError:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._sock.close()

    def send(self, order):
        raw = order if isinstance(order, bytes) else json.dumps(order).encode() + b"\n"
        self._sock.sendall(raw)

    def next(self):
        """Return the next event, or None at the end."""
        line = self._file.readline()
        return json.loads(line) if line else None

    def until(self, name, text=""):
        """Return the next event *name* whose line has *text*, and what came before it."""
        seen = []
        while (event := self.next()) is not None:
            if event["event"] == name and text in event.get("line", ""):
                return event, seen
            seen.append(event)
        raise AssertionError(f"no {name} {text!r} in {seen}")


class Supervised:
    """A supervisor, started as systemd starts it."""

    def __init__(self, directory, *args, start=True):
        self.path = directory / "s.sock"
        self.directory = directory / "upstream"
        self.directory.mkdir()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(16)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.settimeout(LIMIT)
        self.notified.bind(str(directory / "notify.sock"))
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NOTIFY_SOCKET": str(directory / "notify.sock"),
            "SECRET": "of the supervisor",
        }
        self._args = args
        self.process = None
        if start:
            self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PASS_LISTENER, str(self.listener.fileno()), "demo", *self._args],
            env=self._environment,
            pass_fds=[self.listener.fileno()],
            stderr=subprocess.PIPE,
        )
        self.log = Lines(self.process.stderr)
        while not self.notified.recv(4096).startswith(b"READY=1\n"):
            pass

    def close(self):
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(LIMIT)
            self.process.kill()
            self.process.wait(LIMIT)
        self.listener.close()
        self.notified.close()

    def order(self, *args, command=None, **more):
        demo = ["{python}", "-m", "spark_activator.demo", "--socket", "{socket}", *args]
        run = {
            "command": command or demo,
            "env": {"PYTHONPATH": str(ROOT)},
            "directory": str(self.directory),
            "activation": "0a1b2c3d",
            "config": "c0ffee",
            "grace": 5.0,
            **more,
        }
        return {"run": run}

    def run(self, *args, **more):
        return Runner(self.path, self.order(*args, **more))

    def ready(self, *args, **more):
        """Run a demo engine; return its runner and its process id when it serves."""
        runner = self.run(*args, **more)
        return runner, serves(runner)


def serves(runner):
    """Return the process id of the engine of *runner* when it serves."""
    started, _ = runner.until("started")
    runner.until("log", "Application startup complete")
    return started["pid"]


@pytest.fixture
def keep():
    """How long the engine of a lost runner is kept, in seconds."""
    return 2.5


@pytest.fixture
def supervised(tmp_path, keep):
    supervisor = Supervised(tmp_path, "--keep", str(keep))
    yield supervisor
    supervisor.close()


def test_engine_starts_says_its_lines_and_stops(supervised):
    runner, pid = supervised.ready()
    with runner:
        assert os.getpgid(pid) == pid
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(supervised.directory / "engine.sock"))
        # For its group, as the activator connects by that.
        assert (supervised.directory / "engine.sock").stat().st_mode & 0o777 == 0o770

        runner.send({"stop": {"grace": 5.0}})
        exited, before = runner.until("exited")
        assert exited["status"] == 0
        assert any("shutdown complete" in event["line"] for event in before)
        assert runner.next() is None
    assert gone(pid, 0)
    # The journal has the engine's lines, too.
    supervised.log.wait_for("Application startup complete")


def test_environment_is_clean(supervised):
    show = ["{python}", "-c", "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))"]
    with supervised.run(command=show, env={"MODEL": "demo"}) as runner:
        _, [_, log] = runner.until("exited")
    environment, directory = json.loads(log["line"])
    assert environment == {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "LANG": "C.UTF-8",
        "MODEL": "demo",
    }
    assert directory == str(supervised.directory)


def test_engine_that_exits_by_itself_is_reported_with_its_last_words(supervised):
    with supervised.run("--exit-at-start", "3", "--exit-message", "ValueError: bad") as runner:
        exited, before = runner.until("exited")
    assert exited["status"] == 3
    assert before[-1] == {"event": "log", "line": "ValueError: bad"}


def test_command_that_cannot_start_is_reported(supervised):
    with supervised.run(command=["/nonexistent"]) as runner:
        exited, before = runner.until("exited")
    assert exited["status"] == 127
    assert "'/nonexistent'" in before[0]["line"]


def test_sigterm_that_is_ignored_becomes_sigkill(supervised):
    runner, pid = supervised.ready("--ignore-sigterm")
    with runner:
        runner.send({"stop": {"grace": 0.2}})
        exited, _ = runner.until("exited")
    assert exited["status"] == -signal.SIGKILL
    assert gone(pid, 0)


@pytest.mark.parametrize("kind", ["group", "session"])
@pytest.mark.parametrize("end", ["stop", "death"])
def test_nothing_that_the_engine_forked_is_left(supervised, kind, end):
    # It ignores SIGTERM as well, and keeps the log open.
    runner, pid = supervised.ready("--fork-child", kind, "--ignore-sigterm")
    with runner, open(f"/proc/{pid}/task/{pid}/children") as file:
        [child] = [int(word) for word in file.read().split()]
        if end == "stop":
            runner.send({"stop": {"grace": 0.1}})
        else:
            os.kill(pid, signal.SIGKILL)
        runner.until("exited")
    assert gone(child, 0)


def test_kept_memory_is_gone_when_exited_is_said(supervised):
    runner, pid = supervised.ready("--hold-memory", "8MiB", "--keep-memory", "600")
    with runner, open(f"/proc/{pid}/task/{pid}/children") as file:
        [keeper] = [int(word) for word in file.read().split()]
        runner.send({"stop": {"grace": 5}})
        runner.until("exited")
    assert gone(keeper, 0)


@pytest.mark.slow
# Longer than it takes to connect again, on whatever machine.
@pytest.mark.parametrize("keep", [10])
def test_lost_runner_finds_its_engine_again(supervised, keep):
    runner, pid = supervised.ready()
    with runner:
        pass
    with Runner(supervised.path, {"adopt": True}) as second:
        running = second.next()
        assert running == {
            "event": "running",
            "pid": pid,
            "activation": "0a1b2c3d",
            "config": "c0ffee",
        }
        past, _ = second.until("log", "Application startup complete")
        assert past["past"] is True
        # Longer than a lost runner is waited for: it is not lost any more.
        assert not gone(pid, keep + 0.5)
        second.send({"stop": {"grace": 5}})
        assert second.until("exited")[0]["status"] == 0


def test_engine_of_a_lost_runner_is_ended_after_a_while(supervised, keep):
    runner, pid = supervised.ready()
    began = time.monotonic()
    with runner:
        pass
    assert gone(pid)
    assert time.monotonic() - began >= keep
    with Runner(supervised.path, {"adopt": True}) as second:
        assert second.next() == {"event": "none"}
        assert second.next() is None


def test_second_runner_takes_over_and_the_first_is_dropped(supervised, keep):
    first, pid = supervised.ready()
    with first, supervised.run() as second:
        assert second.next()["pid"] == pid
        while first.next() is not None:
            pass
        assert not gone(pid, keep + 0.5)


def test_run_waits_for_an_engine_that_is_on_its_way_out(supervised):
    first, pid = supervised.ready("--ignore-sigterm")
    with first:
        first.send({"stop": {"grace": 0.5}})
        (supervised.directory / "engine.sock").unlink()
        second, other = supervised.ready()
        with second:
            assert other != pid
            assert gone(pid, 0)
        assert first.until("exited")[0]["status"] == -signal.SIGKILL


def test_slow_runner_never_holds_up_the_engine(supervised, tmp_path):
    # Some 16 MiB: more than every buffer on the way, if anybody waited.
    mark = tmp_path / "done"
    code = f"for i in range(20000): print(i, 'x' * 800)\nopen({str(mark)!r}, 'w')"
    with supervised.run(command=["{python}", "-uc", code]) as runner:
        pid = runner.next()["pid"]
        assert gone(pid)
        assert mark.exists()
        exited, before = runner.until("exited")
    assert exited["status"] == 0
    assert len(before) < 20000


def test_endless_line_comes_in_pieces(supervised):
    code = "print('y' * 20000 + '\\rz')"
    with supervised.run(command=["{python}", "-c", code]) as runner:
        _, before = runner.until("exited")
    lines = [event["line"] for event in before[1:]]
    assert "".join(lines) == "y" * 20000 + "z"
    assert max(map(len, lines)) == 8192
    assert lines[-1] == "z"


@pytest.mark.parametrize(
    "bad",
    [
        b"hello\n",
        b"[]\n",
        b'{"run": {}}\n',
        b'{"run": {"command": ["true"], "directory": "here"}}\n',
        b'{"stop": {"grace": 1}}\n',
        b"x" * 300_000,
    ],
)
def test_bad_order_ends_its_connection_only(supervised, bad):
    with suppress(BrokenPipeError, ConnectionResetError), Runner(supervised.path, bad) as runner:
        assert runner.next() is None
    with Runner(supervised.path, {"adopt": True}) as runner:
        assert runner.next() == {"event": "none"}


def test_sigterm_of_the_supervisor_ends_the_engine(supervised):
    runner, pid = supervised.ready("--ignore-sigterm", grace=0.3)
    with runner:
        supervised.process.terminate()
        assert runner.until("exited")[0]["status"] == -signal.SIGKILL
    assert supervised.process.wait(LIMIT) == 0
    assert gone(pid, 0)


def test_supervisor_leaves_when_there_is_nothing_to_do(tmp_path):
    supervised = Supervised(tmp_path, "--leave-after", "0.3", start=False)
    try:
        # There before it is, as whoever systemd starts it for.
        with supervised.run() as runner:
            supervised.start()
            serves(runner)
            # An engine holds it, however long.
            assert not gone(supervised.process.pid, 1.0)
            runner.send({"stop": {"grace": 5}})
            runner.until("exited")
        assert supervised.process.wait(LIMIT) == 0
        # Who comes after that is systemd's, and the next supervisor's.
        with Runner(supervised.path, {"adopt": True}) as late:
            supervised.start()
            assert late.next() == {"event": "none"}
    finally:
        supervised.close()


def test_start_without_systemd_says_so():
    result = subprocess.run(
        [sys.executable, "-m", "spark_activator.runner.supervisor", "demo"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert result.returncode == 1
    assert "expected one listener 'engine' from systemd, got 0" in result.stderr

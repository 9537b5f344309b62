"""What the demo engine does when it is told to fail: real processes, real memory."""

import json
import os
import select
import signal
import subprocess

import pytest
from demo_engine import LIMIT, DemoEngine, chat, events, gone, said

from spark_activator.demo.faults import DEATH_STATUS


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def test_never_ready_loads_and_then_makes_no_socket(tmp_path):
    with DemoEngine(tmp_path, "--never-ready") as engine:
        engine.log.wait_for("Graph capturing finished")
        assert not engine.socket.exists()
        engine.process.terminate()
        assert engine.process.wait(LIMIT) == 0


def test_stall_says_nothing_more(tmp_path):
    with DemoEngine(tmp_path, "--stall-phase", "compile") as engine:
        engine.log.wait_for("Dynamo bytecode transform")
        engine.process.terminate()
        assert engine.process.wait(LIMIT) == 0
        assert not any("torch.compile takes" in line for line in engine.log.to_end())


@pytest.mark.parametrize("phase", ["start", "weights", "compile", "graphs"])
def test_exit_at_start_has_its_status_and_last_words(tmp_path, phase):
    told = ["--exit-at-start", "42", "--exit-phase", phase, "--exit-message", "OutOfMemoryError: x"]
    with DemoEngine(tmp_path, *told) as engine:
        assert engine.process.wait(LIMIT) == 42
        assert "OutOfMemoryError: x" in engine.log.to_end()
        assert not engine.socket.exists()


def test_ignored_sigterm_needs_sigkill(tmp_path):
    with DemoEngine(tmp_path, "--ignore-sigterm") as engine:
        engine.ready().process.terminate()
        # It is served after that as before.
        assert engine.ask("GET", "/health").status == 200
        engine.process.kill()
        assert engine.process.wait(LIMIT) == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["group", "session"])
def test_forked_child_outlives_the_engine(tmp_path, kind):
    with DemoEngine(tmp_path, "--fork-child", kind) as engine:
        [child] = children(engine.ready().process.pid)
        engine.process.kill()
        engine.process.wait(LIMIT)
        try:
            assert (os.getpgid(child) == engine.process.pid) == (kind == "group")
            assert not gone(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("stream", [True, False])
def test_death_after_n_tokens_is_visible(tmp_path, stream):
    with DemoEngine(tmp_path, "--die-after-tokens", "3") as engine:
        engine.ready()
        # One token, as the readiness check asks for, is not enough.
        short = engine.ask("POST", "/v1/chat/completions", chat("x", max_tokens=1))
        assert short.status == 200

        result = subprocess.run(
            ["curl", "-sSN", "--unix-socket", str(engine.socket),
             "http://x/v1/chat/completions", "-d", json.dumps(chat("x", stream=stream))],
            capture_output=True, timeout=LIMIT,
        )  # fmt: skip
        assert engine.process.wait(LIMIT) == DEATH_STATUS
        if stream:
            assert result.returncode == 18
            assert len(said(events(result.stdout)).split()) == 3
        else:
            assert result.returncode == 52


@pytest.mark.parametrize(("kind", "status"), [("error", 500), ("hang", None)])
def test_dead_engine_still_looks_healthy(tmp_path, kind, status):
    told = ["--dead-health", kind, "--dead-after-requests", "1"]
    with DemoEngine(tmp_path, *told) as engine:
        engine.ready()
        assert engine.ask("POST", "/v1/chat/completions", chat("x")).status == 200

        if status:
            assert engine.ask("POST", "/v1/chat/completions", chat("x")).status == status
        else:
            body = json.dumps(chat("x")).encode()
            sock = engine.connect()
            sock.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
            assert not select.select([sock], [], [], 0.2)[0]
            sock.close()
        assert engine.ask("GET", "/health").status == 200
        assert engine.ask("GET", "/v1/models").status == 200


def test_health_comes_later_than_the_socket(tmp_path):
    with DemoEngine(tmp_path, "--health-delay", "3600") as engine:
        assert engine.ready().ask("GET", "/health").status == 503


def test_memory_is_real_and_kept_after_the_end(tmp_path):
    size = 96 * 2**20
    with DemoEngine(tmp_path, "--hold-memory", "96MiB", "--keep-memory", "600") as engine:
        engine.ready()
        assert resident(engine.process.pid) > size
        [keeper] = children(engine.process.pid)
        try:
            engine.process.kill()
            engine.process.wait(LIMIT)
            # Whoever reads the log sees its end at once, as the keeper holds memory only.
            engine.log.to_end()
            assert resident(keeper) > size
            os.kill(keeper, signal.SIGTERM)
            assert not gone(keeper, 0.2)
        finally:
            os.kill(keeper, signal.SIGKILL)


def test_memory_is_given_back_after_its_time(tmp_path):
    with DemoEngine(tmp_path, "--hold-memory", "1MiB", "--keep-memory", "1") as engine:
        [keeper] = children(engine.ready().process.pid)
        engine.process.kill()
        engine.process.wait(LIMIT)
        assert gone(keeper)


def test_drain_finishes_streams_and_refuses_who_comes(tmp_path):
    told = ["--shutdown-timeout", "10", "--tokens-per-second", "20"]
    with DemoEngine(tmp_path, *told) as engine:
        engine.ready()
        stream = subprocess.Popen(
            ["curl", "-sSN", "--unix-socket", str(engine.socket), "http://x/v1/chat/completions",
             "-d", json.dumps(chat("x", stream=True, max_tokens=10))],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert stream.stdout.readline().startswith(b"data: ")
        with engine.connect() as idle:
            # Answered, it is known to be accepted: else it would be reset.
            idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
            engine.process.terminate()
            engine.log.wait_for("Shutting down")
            assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            engine.connect()
        rest, _ = stream.communicate(timeout=LIMIT)
        assert rest.endswith(b"data: [DONE]\n\n")
        assert stream.returncode == 0
        assert engine.process.wait(LIMIT) == 0


def test_drain_ends_at_its_limit(tmp_path):
    told = ["--shutdown-timeout", "0.2", "--allow-faults"]
    with DemoEngine(tmp_path, *told) as engine:
        engine.ready()
        stream = subprocess.Popen(
            ["curl", "-sSN", "--unix-socket", str(engine.socket), "http://x/v1/chat/completions",
             "-d", json.dumps(chat("fault: hang after 1", stream=True))],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert stream.stdout.readline().startswith(b"data: ")
        engine.process.terminate()
        stream.communicate(timeout=LIMIT)
        assert stream.returncode == 18
        assert engine.process.wait(LIMIT) == 0


def test_faults_by_request_need_permission(tmp_path):
    with DemoEngine(tmp_path) as engine:
        answer = engine.ready().ask("POST", "/v1/chat/completions", chat("fault: die after 1"))
        assert answer.status == 200

"""SGLang's way onto the unix socket: the demo engine, with TCP only, in a container of its own."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_world import containers, docker, opened_with_docker, ready
from ports import free_port
from runner_world import LIMIT, World, container_model, until

from spark_activator.catalog.model import ContainerOptions, Engine, Model, Source
from spark_activator.protocol import Bye, Stopping
from spark_activator.runner.sglang import BRIDGE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Echoes what comes on port 8123, and says how its client ended.
ECHO = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        client, _ = listener.accept()
        with client:
            got = b""
            while piece := client.recv(65536):
                got += piece
                if piece == b"die":
                    sys.exit(7)
            client.sendall(b"all " + str(len(got)).encode())
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened_with_docker(tmp_path) as world:
        yield world


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"bridge-test-{os.getpid()}-{abs(hash(request.node.name)) % 10000}"


def tcp_model(name: str, options: str = "") -> Model:
    """A model of SGLang's whose server is the demo engine on the port that the runner says.

    The server takes none of SGLang's flags, so a shell drops them.
    """
    demo = f"exec python3 -I -m spark_activator.demo --port 30000 --served-model-name {name}"
    return container_model(
        name,
        engine=Engine.SGLANG,
        # Not on the hub: no cache has to have it.
        source=Source("/models/none"),
        args=(),
        container=ContainerOptions(entrypoint=("/bin/sh", "-c", f"{demo} {options}", "sh")),
    )


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(LIMIT)
    client.connect(str(path))
    return client


def ask_for_stream(path: Path, name: str, tokens: int) -> socket.socket:
    body = json.dumps(
        {
            "model": name,
            "stream": True,
            "max_tokens": tokens,
            "messages": [{"role": "user", "content": "x"}],
        }
    )
    client = connect(path)
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return client


def test_server_with_tcp_only_is_on_the_socket_and_leaves(world: World, name: str) -> None:
    unit = world.runner(tcp_model(name, "--tokens-per-second 20 --max-tokens 100000"))
    activator, activation = ready(world, name)
    path = world.layout.upstream(name) / activation / "engine.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o770

    # Hours of tokens come as they are made, not in one piece at the end.
    with ask_for_stream(path, name, 100_000) as client:
        got = b""
        while got.count(b"data: ") < 10:
            piece = client.recv(65536)
            assert piece, got
            got += piece
    with ask_for_stream(path, name, 10) as client:
        got = b""
        while piece := client.recv(65536):
            got += piece
    assert got.rstrip().endswith((b"data: [DONE]", b"0"))

    activator.say(Bye())
    activator.close()
    # The server heard SIGTERM: Docker's SIGKILL comes after 75 s.
    until(lambda: unit.exits == [0], limit=60, what="the runner leaves")
    assert containers(name) == []


def test_sigterm_lets_the_server_finish_what_it_has(world: World, name: str) -> None:
    world.runner(tcp_model(name, "--tokens-per-second 20 --shutdown-timeout 20"))
    activator, activation = ready(world, name)
    path = world.layout.upstream(name) / activation / "engine.sock"
    with ask_for_stream(path, name, 40) as client:
        got = client.recv(65536)
        docker("kill", "--signal", "TERM", f"spark-{name}")
        while piece := client.recv(65536):
            got += piece
    assert b"data: [DONE]" in got
    activator.wait(Stopping)
    activator.close()


@pytest.mark.parametrize("victim", ["server", "bridge"])
def test_container_ends_with_either(world: World, name: str, victim: str) -> None:
    world.runner(tcp_model(name))
    activator, _ = ready(world, name)
    pattern = "spark_activator.demo --port" if victim == "server" else "spark-bridge"
    found = [
        line.split()[0]
        for line in docker("top", f"spark-{name}", "-eo", "pid,args").splitlines()
        if pattern in line
        and ("spark-bridge" in line) == (victim == "bridge")
        and "docker-init" not in line
    ]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):  # the first one's end was that of all
            os.kill(int(pid), signal.SIGKILL)
    assert found
    activator.wait(Stopping)
    until(lambda: not containers(name), what="the container is gone")
    activator.close()


def takes_clients(path: Path) -> bool:
    """Whether somebody listens: a socket is in its place before that."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.fixture
def bridged(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    port = str(free_port())
    path = tmp_path / "s"
    command = [sys.executable, "-I", BRIDGE, str(path), port, sys.executable, "-c", ECHO, port]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: takes_clients(path), what="the bridge takes clients")
        yield path, process
        process.terminate()


def test_half_close_is_handed_on_and_the_answer_comes_after_it(
    bridged: tuple[Path, subprocess.Popen[str]],
) -> None:
    path, _ = bridged
    with connect(path) as client:
        client.sendall(b"x" * 3_000_000)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"all 3000000"
        assert client.recv(100) == b""


def test_client_that_leaves_ends_its_connection_to_the_server(
    bridged: tuple[Path, subprocess.Popen[str]],
) -> None:
    path, process = bridged
    connect(path).close()
    # The server has one client at a time: it serves again only if it heard of the end.
    with connect(path) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"all 0"
    # While its bytes are on the way, and with an answer that it does not read.
    with connect(path) as client:
        client.sendall(b"x" * 300_000)
    with connect(path) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"all 0"
    process.terminate()
    assert process.communicate(timeout=LIMIT) == (None, "")


def test_status_is_the_servers_and_its_clients_hear_the_end(
    bridged: tuple[Path, subprocess.Popen[str]],
) -> None:
    path, process = bridged
    with connect(path) as client:
        client.sendall(b"die")
        assert client.recv(100) == b""
    assert process.wait(LIMIT) == 7


def test_sigterm_reaches_the_server(bridged: tuple[Path, subprocess.Popen[str]]) -> None:
    _, process = bridged
    process.terminate()
    assert process.wait(LIMIT) == 128 + signal.SIGTERM


def test_bridge_is_in_the_language_of_old_images() -> None:
    # Annotations are not evaluated; all else has to be in Python 3.8.
    text = Path(BRIDGE).read_text()
    ast.parse(text, feature_version=(3, 8))
    assert "from __future__ import annotations" in text


def test_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-I", BRIDGE, str(tmp_path / "s"), "1", "/nowhere"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 127
    assert ended.stderr == "bridge: cannot start /nowhere: No such file or directory\n"


def test_socket_that_cannot_be_made_ends_the_server(tmp_path: Path) -> None:
    port = str(free_port())
    path = str(tmp_path / "missing" / "s")
    command = [sys.executable, "-I", BRIDGE, path, port, sys.executable, "-c", ECHO, port]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT)
    assert ended.returncode == 128 + signal.SIGKILL
    assert "bridge: cannot serve on" in ended.stderr
    assert "Traceback" not in ended.stderr

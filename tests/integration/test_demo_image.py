"""The demo engine's image on a real Docker, run as the runner runs an engine."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import uuid

import pytest
from demo_engine import LIMIT, ROOT, Lines, chat, events, said

from spark_activator.demo.faults import DEATH_STATUS
from spark_activator.demo.text import is_complete

# Building the image takes a minute the first time.
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True).returncode != 0,
        reason="no Docker answers",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to other users"),
]

# Nobody's: the runner's user and the activator's group, who have no name here.
RUNNER, GROUP = 64001, 64002


def docker(*args, **more):
    result = subprocess.run(["docker", *args], capture_output=True, text=True, timeout=120, **more)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def image():
    subprocess.run([ROOT / "tests/setup_engine.sh", "demo"], check=True, timeout=280)
    return "spark-demo"


class Container:
    """A container as design has it: no network, no capabilities, nothing to write to."""

    def __init__(self, image, upstream, *args):
        self.name = f"spark-test-demo-{uuid.uuid4().hex[:8]}"
        self.upstream = upstream
        docker(
            "run", "--detach", "--name", self.name, "--init", "--network", "none",
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "64",
            "--read-only", "--tmpfs", "/tmp:rw,exec", "--group-add", str(GROUP),
            "--mount", f"type=bind,source={upstream},target=/run/upstream",
            "--entrypoint", "/bin/sh", image, "-c", 'umask 0007; exec "$0" "$@"',
            "python3", "-I", "-m", "spark_activator.demo",
            "--socket", "/run/upstream/engine.sock", *args,
        )  # fmt: skip
        self._follow = subprocess.Popen(
            ["docker", "logs", "--follow", self.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.log = Lines(self._follow.stderr)

    def ready(self):
        self.log.wait_for("Application startup complete")
        return self

    def ask(self, method, path, body=None):
        client = http.client.HTTPConnection("engine", timeout=LIMIT)
        with socket.socket(socket.AF_UNIX) as client.sock:
            client.sock.connect(f"{self.upstream}/engine.sock")
            client.request(method, path, body and json.dumps(body))
            return client.getresponse().read()

    def stream(self, text, **more):
        return subprocess.Popen(
            ["curl", "-sSN", "--unix-socket", f"{self.upstream}/engine.sock",
             "http://x/v1/chat/completions", "-d", json.dumps(chat(text, stream=True, **more))],
            stdout=subprocess.PIPE,
        )  # fmt: skip

    def wait(self):
        return int(docker("wait", self.name))

    def remove(self):
        docker("rm", "--force", "--volumes", self.name)
        self._follow.wait(LIMIT)


@pytest.fixture
def run(image, tmp_path):
    upstream = tmp_path / "0a1b2c3d"
    upstream.mkdir()
    os.chown(upstream, RUNNER, GROUP)
    upstream.chmod(0o2770)
    made = []

    def start(*args):
        made.append(Container(image, upstream, *args))
        return made[-1]

    yield start
    for container in made:
        container.remove()


def test_container_serves_on_the_socket_and_stops_cleanly(run):
    container = run("--load-time", "0.2", "--text", "echo").ready()

    status = os.stat(f"{container.upstream}/engine.sock")
    assert (status.st_gid, status.st_mode & 0o777) == (GROUP, 0o770)
    assert json.loads(container.ask("GET", "/v1/models"))["data"][0]["id"] == "demo"
    body = json.loads(container.ask("POST", "/v1/chat/completions", chat("one two")))
    text = body["choices"][0]["message"]["content"]
    assert text.startswith("one two #")
    assert is_complete(text)
    assert said(events(container.ask("POST", "/v1/chat/completions", chat("one two", stream=True))))

    docker("stop", "--time", "60", container.name)
    assert container.wait() == 0
    log = "\n".join(container.log.to_end())
    assert "Loading safetensors checkpoint shards:  50% Completed | 2/4" in log
    assert "Application shutdown complete" in log


def test_drain_lets_a_stream_finish_while_docker_stops_it(run):
    container = run("--shutdown-timeout", "60", "--tokens-per-second", "20").ready()
    stream = container.stream("x", max_tokens=10)
    assert stream.stdout.readline().startswith(b"data: ")

    docker("stop", "--time", "60", container.name)

    rest, _ = stream.communicate(timeout=LIMIT)
    assert stream.returncode == 0
    assert rest.endswith(b"data: [DONE]\n\n")
    assert container.wait() == 0


def test_death_and_kill_in_the_middle_of_a_stream_are_visible(run):
    container = run("--allow-faults", "--tokens-per-second", "20").ready()
    stream = container.stream("fault: die after 2")
    stream.communicate(timeout=LIMIT)
    assert stream.returncode == 18
    assert container.wait() == DEATH_STATUS

    # The same directory would be refused: its socket is still there.
    os.unlink(f"{container.upstream}/engine.sock")
    # Longer than Docker takes for a kill.
    second = run("--tokens-per-second", "0.5").ready()
    stream = second.stream("x")
    assert stream.stdout.readline().startswith(b"data: ")
    docker("kill", second.name)
    stream.communicate(timeout=LIMIT)
    assert stream.returncode == 18


def test_ignored_sigterm_ends_by_dockers_sigkill(run):
    container = run("--ignore-sigterm").ready()

    docker("stop", "--time", "1", container.name)

    assert container.wait() == 137


def test_image_starts_by_itself_too(image):
    help_text = docker("run", "--rm", "--network", "none", "--read-only", image, "--help")
    assert "--die-after-tokens" in help_text

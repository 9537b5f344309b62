"""`spark-model image` against a Docker that says what the test wants."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_docker import FakeDocker, serving

from spark_activator.cli import image, image_context
from spark_activator.cli.image_progress import GIB, Pull, Teller
from spark_activator.errors import UserError

DIGEST = "sha256:" + "5a" * 32
SPEC = f"registry.example.org:5000/vllm:0.28@{DIGEST}"
IMAGES = f"""
pinned: {{reference: 'registry.example.org:5000/vllm:0.28', digest: '{DIGEST}', serves: vLLM 0.28}}
night: {{reference: 'who/vllm:nightly', pinned: false, summary: last night's}}
ngc: {{reference: 'nvcr.io/nvidia/vllm:25.10-py3', pinned: false}}
own: {{reference: 'own:latest', pinned: false, build: own}}
"""
LAYERS = [
    {"status": "Pulling from vllm", "id": "0.28"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaa"},
    {"status": "Already exists", "progressDetail": {}, "id": "bbb"},
    {"status": "Downloading", "progressDetail": {"current": GIB, "total": 2 * GIB}, "id": "aaa"},
    {"status": "Download complete", "progressDetail": {}, "id": "aaa"},
    {"status": "Extracting", "progressDetail": {"current": 1, "total": 9}, "id": "aaa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aaa"},
    {"status": f"Digest: {DIGEST}"},
    {"status": "Status: Downloaded newer image"},
]


def found(spec: str, digest: str | None = DIGEST, **labels: str) -> dict[str, object]:
    name = spec.partition("@")[0].rpartition(":")[0]
    return {
        "Id": "sha256:" + "1d" * 32,
        "Size": 3 * GIB,
        "RepoDigests": [f"{name}@{digest}"] if digest else [],
        "Config": {"Labels": labels},
    }


@pytest.fixture
def docker(machine) -> Iterator[FakeDocker]:
    (machine.layout.share / "images.yaml").write_text(IMAGES)
    folder = machine.layout.image_folders / "own"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY note /note\n")
    (folder / "note").write_text("hello\n")
    # A socket's path is short; pytest's directories are not.
    with tempfile.TemporaryDirectory() as directory, serving(Path(directory) / "d") as docker:
        machine.layout.host_file.write_text(f"docker_host: {directory}/d\n")
        yield docker


def test_pull_asks_by_digest_and_remembers(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.events, docker.brings = LAYERS, {SPEC: found(SPEC)}

    assert machine.run("image", "pull", "pinned") == 0
    [(path, query, _)] = docker.asked
    assert path == "/images/create"
    assert query == {"fromImage": "registry.example.org:5000/vllm", "tag": DIGEST}
    record = json.loads(machine.layout.pulled_image("pinned").read_text())
    assert (record["digest"], record["id"]) == (DIGEST, "sha256:" + "1d" * 32)
    out = capsys.readouterr().out
    assert "GiB free in" in out
    assert "pinned: here, 3.0 GiB" in out
    assert machine.run("image", "verify", "pinned") == 0


def test_what_is_not_pinned_is_recorded_and_compared(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.images["who/vllm:nightly"] = found("who/vllm:nightly")
    assert machine.run("image", "verify", "night") == 1
    assert "nobody knows what it is" in capsys.readouterr().out

    assert machine.run("image", "pull", "night") == 0
    assert docker.asked[0][1] == {"fromImage": "who/vllm", "tag": "nightly"}
    assert f"what came is {DIGEST}" in capsys.readouterr().out
    assert machine.run("image", "verify", "night") == 0

    # The next night.
    docker.images["who/vllm:nightly"]["Id"] = "sha256:" + "2e" * 32
    assert machine.run("image", "verify", "night") == 1
    assert f"sha256:{'1d' * 32} was pulled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("ngc", "unauthorized: authentication required", "sudo docker login nvcr.io"),
        ("ngc", "unauthorized: authentication required", "$oauthtoken"),
        ("night", "pull access denied for who/vllm, repository does not exist", "docker login)"),
        ("pinned", "denied: no", "docker login registry.example.org:5000"),
        ("night", "no matching manifest for linux/arm64/v8", "for a machine of this kind"),
        ("night", "write /var/lib/x: no space left on device", "docker system df"),
        ("night", "dial tcp: lookup registry: no such host", "is the network there"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_a_refused_pull_says_what_to_do(
    machine,
    docker: FakeDocker,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
    hint: str,
    *,
    early: bool,
) -> None:
    # A registry's no comes as the status, or in the middle of an answer.
    if early:
        docker.status, docker.message = 500, message
    else:
        docker.events = [*LAYERS[:3], {"errorDetail": {"message": message}, "error": message}]

    assert machine.run("image", "pull", name) == 1
    said = capsys.readouterr().err
    assert message in said
    assert hint in said
    assert not machine.layout.pulled_image(name).exists()


def test_a_pull_that_cannot_fit_ends_as_soon_as_its_size_is_known(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = {"current": 0, "total": 1 << 60}
    docker.events = [*LAYERS, {"status": "Downloading", "progressDetail": huge, "id": "ccc"}]

    assert machine.run("image", "pull", "night") == 1
    assert "does not fit: 1073741824.0 GiB are still to come" in capsys.readouterr().err


def test_docker_that_goes_away_in_the_middle(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.events, docker.breaks = LAYERS[:4], True

    assert machine.run("image", "pull", "night") == 1
    assert "Docker does not answer" in capsys.readouterr().err


def test_no_docker_at_all(machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.layout.share / "images.yaml").write_text(IMAGES)
    machine.layout.host_file.write_text("docker_host: /nowhere/docker.sock\n")

    assert machine.run("image", "list") == 1
    assert "Docker does not answer (hint: run: sudo systemctl start docker)" in (
        capsys.readouterr().err
    )


def test_ctrl_c_ends_the_pull(machine, docker: FakeDocker) -> None:
    docker.events = LAYERS[:4]
    docker.holds.clear()
    with pulling() as child:
        assert docker.said.wait(60)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)

    assert (child.returncode, err) == (130, "")
    assert "stopped; the same command goes on" in out
    assert docker.left.wait(60)


def test_ctrl_c_while_a_library_holds_a_lock_ends_the_pull(machine, docker: FakeDocker) -> None:
    docker.events = LAYERS[:4]
    docker.holds.clear()
    # It comes as the pool of connections is left, and is raised before the lock is free.
    with pulling(LEAVING_THE_POOL) as child:
        out, err = child.communicate(timeout=60)

    assert (child.returncode, err) == (130, "")
    assert "stopped; the same command goes on" in out


LEAVING_THE_POOL = """
class Door(threading.Condition):
    def __exit__(self, *reason):
        if asked:
            os.kill(os.getpid(), asked.pop())
        return super().__exit__(*reason)

def pool(self, size):
    begin(self, size)
    self.not_empty = Door(self.mutex)

def pull(self, image):
    asked.append(signal.SIGINT)
    return real(self, image)

asked, begin, real = [], queue.LifoQueue.__init__, image_docker.Docker.pull
queue.LifoQueue.__init__, image_docker.Docker.pull = pool, pull
"""


@contextmanager
def pulling(before: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that pulls `night`, after the statements of *before*."""
    code = (
        "import os, queue, signal, sys, threading\n"
        "from spark_activator.cli import image_docker, main\n"
        f"{before}\n"
        "sys.exit(main.main(['image', 'pull', 'night']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def test_build_sends_its_folder_and_labels_what_it_made(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    context = image_context.read(machine.layout.image_folders / "own")
    labels = context.labels("own", {})
    docker.events = [{"stream": "Step 1/2 : FROM scratch\n"}, {"stream": "\n"}]
    docker.brings = {"own:latest": found("own:latest", None, **labels)}

    assert machine.run("image", "build", "own") == 0
    [(path, query, body)] = docker.asked
    assert (path, query["t"]) == ("/build", "own:latest")
    assert json.loads(query["labels"]) == labels
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        assert archive.getnames() == ["Dockerfile", "note"]
    assert "  Step 1/2 : FROM scratch\n" in capsys.readouterr().out

    assert machine.run("image", "verify", "own") == 0
    (machine.layout.image_folders / "own/note").write_text("changed\n")
    assert machine.run("image", "verify", "own") == 1
    assert "built from other files" in capsys.readouterr().out


def test_build_takes_a_base_and_arguments(machine, docker: FakeDocker) -> None:
    docker.brings = {"own:latest": found("own:latest", None)}

    words = ("--base", "debian:13", "--build-arg", "VLLM=0.33.0", "--no-cache")
    assert machine.run("image", "build", "own", *words) == 0
    [(_, query, _)] = docker.asked
    assert json.loads(query["buildargs"]) == {"BASE": "debian:13", "VLLM": "0.33.0"}
    assert query["nocache"] == "True"


def test_a_step_that_fails_is_shown(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "The command '/bin/sh -c false' returned a non-zero code: 1"
    docker.events = [{"stream": "Step 2/2 : RUN false\n"}, {"error": message}]

    assert machine.run("image", "build", "own") == 1
    said = capsys.readouterr()
    assert "Step 2/2 : RUN false" in said.out
    assert message in said.err
    assert not machine.layout.pulled_image("own").exists()


def test_build_says_lines_without_what_moves_a_terminal(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.events = [
        {"stream": "Step 1/2 : RUN apt-get install vim\n"},
        {"stream": "\x1b[91mdebconf: delaying\x1b[0m\r\n"},
        {"stream": "(Reading database ... \r(Reading database ... 5%\r"},
        {"stream": "(Reading database ... 100%\r(Reading database ... 6 files.)\n\n"},
        {"stream": "no newline, "},
        {"stream": "\x1b]0;title\x07then an error\b"},
        {"error": "it failed"},
    ]

    assert machine.run("image", "build", "own") == 1

    said = capsys.readouterr().out
    expected = [
        "  Step 1/2 : RUN apt-get install vim",
        "  debconf: delaying",
        "  (Reading database ... 6 files.)",
        "  no newline, then an error",
    ]
    assert said.split("\n")[-5:-1] == expected
    assert not [one for one in said if ord(one) < 32 and one != "\n"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("pull", "own"), "run: spark-model image build own"),
        (("build", "night"), "run: spark-model image pull night"),
        (("pull", "nobody"), "there is no image 'nobody'"),
        (("verify", "nobody"), "there is no image 'nobody'"),
    ],
)
def test_the_other_command_is_named(
    machine,
    docker: FakeDocker,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    expected: str,
) -> None:
    assert machine.run("image", *words) == 1
    assert expected in capsys.readouterr().err
    assert docker.asked == []


def test_list_says_what_is_here(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.images[SPEC] = found(SPEC)

    assert machine.run("image", "list") == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[:3] for row in rows] == [
        ["ngc", "-", "pull"], ["night", "-", "pull"],
        ["own", "-", "build"], ["pinned", "3.0", "GiB"],
    ]  # fmt: skip


def test_verify_names_what_is_missing_or_another(
    machine, docker: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nobody has to have all of them.
    assert machine.run("image", "verify") == 0
    assert machine.run("image", "verify", "own") == 1
    assert "run: spark-model image build own" in capsys.readouterr().out

    docker.images["own:latest"] = found("own:latest", None)
    assert machine.run("image", "verify") == 1
    assert "not built by 'spark-model image build'" in capsys.readouterr().out


def test_ensure_does_what_is_missing_and_nothing_else(machine, docker: FakeDocker) -> None:
    docker.brings = {SPEC: found(SPEC), "own:latest": found("own:latest", None)}

    image.ensure(machine.layout, "pinned")
    image.ensure(machine.layout, "own")
    assert [path for path, _, _ in docker.asked] == ["/images/create"]
    docker.images.pop("own:latest")
    image.ensure(machine.layout, "own")
    image.ensure(machine.layout, "own")
    assert [path for path, _, _ in docker.asked] == ["/images/create", "/build"]
    with pytest.raises(UserError, match="there is no image 'nobody'"):
        image.ensure(machine.layout, "nobody")


def test_the_demo_engine_comes_along_where_a_dockerfile_copies_it() -> None:
    folder = Path(__file__).parents[3] / "images/demo"
    files = image_context.read(folder).files

    assert "spark_activator/demo/__main__.py" in files
    assert not [path for path in files if "__pycache__" in path]


def test_progress_is_a_line_now_and_then() -> None:
    progress = Pull()
    for event in LAYERS[:4]:
        progress.hear(event)
    assert progress.line() == "1 of 2 layers, 1.00 of 2.00 GiB"
    assert progress.left == GIB
    for event in LAYERS[4:]:
        progress.hear(event)
    assert progress.line() == "2 of 2 layers, 2.00 of 2.00 GiB"

    now = [0.0]
    out = io.StringIO()
    teller = Teller(out, lambda: now[0])
    for second in range(25):
        now[0] = float(second)
        teller.tell(f"at {second}")
    teller.end()
    assert out.getvalue() == "at 10\nat 20\n"


def test_on_a_terminal_the_line_is_drawn_over_and_taken_away() -> None:
    leader, follower = os.openpty()
    now = iter(range(100))
    with open(follower, "w") as terminal:
        teller = Teller(terminal, lambda: float(next(now)))
        teller.tell("one")
        teller.tell("two")
        teller.end()
        expected = b"\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K"
        drawn = b""
        while len(drawn) < len(expected):
            drawn += os.read(leader, 999)
        assert drawn == expected
    os.close(leader)

"""images/vllm-cpu from scratch, by the command that an owner types, and served from.

Run by `tests/run --long=images`; what vLLM itself answers is looked at by test_vllm.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from node import ROOT, Node
from stack import Stack

VLLM = os.environ.get("SPARK_VLLM")

pytestmark = [
    pytest.mark.skipif(VLLM is None, reason="needs a real vLLM: run tests/run --long=images"),
    pytest.mark.long,
    pytest.mark.timeout(900),
]

MODEL = {
    "extends": "tiny-vllm",
    "port": 18361,
    "source": {"model": "/models/tiny", "from": "made by the test set-up"},
    "args": ["--enforce-eager"],
    "container": {"mounts": {"/models/tiny": "/srv/tiny", "/opt/vllm-cpu": "/srv/vllm-cpu"}},
}
QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, with each of its steps done again on the smallest Debian."""
    subprocess.run([ROOT / "tests/setup_images.sh", "bookworm"], check=True)
    place = tmp_path_factory.mktemp("roots")
    environ = dict(os.environ)
    for name in ("config", "state", "run", "share"):
        (place / name).mkdir()
        environ[f"SPARK_{name.upper()}"] = str(place / name)
    (place / "share/images").symlink_to(ROOT / "images")
    (place / "share/images.yaml").symlink_to(ROOT / "images/images.yaml")
    command = [sys.executable, "-m", "spark_activator", "image", "build", "vllm-cpu"]
    subprocess.run(
        [*command, "--base", "spark-test-base:bookworm", "--no-cache"],
        check=True, env=environ, cwd=ROOT,
    )  # fmt: skip
    return "vllm-cpu"


@pytest.fixture(scope="module")
def node(built: str) -> Iterator[Node]:
    assert VLLM is not None
    root = Path(VLLM)
    mounts = {"/srv/tiny": str(root / "tiny"), "/srv/vllm-cpu": str((root / "vllm-cpu").resolve())}
    with Node.boot(mounts=mounts) as node:
        print(node.install().out)
        node.load_image(built)
        yield node


def test_the_image_that_was_built_serves_the_tiny_model(node: Node) -> None:
    # The folder that an installation brings is the one that it was built from.
    said = node.exec("spark-model image verify vllm-cpu").out
    assert "good, built from what is here with BASE=spark-test-base:bookworm" in said

    node.write("/etc/spark-activator/models/tiny.yaml", json.dumps(MODEL))
    node.exec("spark-model check && spark-model apply")
    node.exec("systemctl enable --now spark-model@tiny.socket")
    node.wait("curl -sf http://127.0.0.1:8009/v1/models | grep -q '\"tiny\"'")
    answer = node.exec(
        "curl -s http://127.0.0.1:8009/v1/chat/completions"
        " -H 'Content-Type: application/json' -d @-",
        stdin=json.dumps(QUESTION), timeout=240,
    ).out  # fmt: skip

    assert json.loads(answer)["usage"]["completion_tokens"] >= 1, answer
    [container] = Stack(node).containers("tiny")
    image = node.exec(f"docker inspect -f '{{{{.Image}}}}' {container}").out
    assert image == node.exec("docker image inspect -f '{{.Id}}' vllm-cpu").out
    node.exec("systemctl disable --now spark-model@tiny.socket", timeout=180)

"""A new user's way to vLLM itself: four commands, typed and timed, on a machine with nothing.

After them: weights from a hub, and a model of one's own.

Run by `tests/run --vllm` and `tests/run --long=images`.  What the commands download is
at hand: the packages of vLLM in the tests' cache, and Debian as an image of the node's
Docker.  All else they do here as they do elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
import registries
from node import CHECKOUT, ROOT, Node
from stack import FRONT, Stack

VLLM = os.environ.get("SPARK_VLLM")

pytestmark = [
    pytest.mark.skipif(VLLM is None, reason="needs a real vLLM: run tests/run --vllm"),
    pytest.mark.timeout(900),
]

# Where the model's file looks for vLLM and for its weights.
MODELS = "/var/lib/spark-activator/models"
# As root, as `sudo` has them do it.
TYPED = (
    "./install.sh",
    f"tests/setup_vllm.sh {MODELS}",
    "spark-model enable tiny-vllm",
    "spark-model chat tiny-vllm Hello",
)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node that has a checkout, and what it would download."""
    with Node.boot(mounts={MODELS: str(VLLM)}) as node:
        node.copy_checkout()
        node.load_image("spark-test-base:bookworm")
        node.exec("docker tag spark-test-base:bookworm debian:bookworm-slim")
        yield node


def test_the_cpu_model_answers_after_four_commands(node: Node) -> None:
    said = [_type(node, command) for command in TYPED]

    # Random weights say nothing of sense, but they say something.
    assert said[-1].strip()
    image = node.exec("spark-model image verify vllm-cpu").out
    assert "good, built from what is here" in image
    started = node.exec("docker ps --format '{{.Image}}' --filter name=^spark-tiny-vllm$").out
    assert started.strip() == "vllm-cpu:latest"

    # Typed once more, it does nothing and says where the model is.
    again = node.exec("spark-model enable tiny-vllm").out
    assert "it has been asked for already: ready" in again
    assert "building" not in again
    node.exec("spark-model remove tiny-vllm")


HUB = f"""
import pathlib, signal, sys
sys.path.insert(0, "/root")
from hub_server import Hub, Repo
folder = pathlib.Path("{MODELS}/tiny")
files = {{file.name: file.read_bytes() for file in folder.iterdir()}}
with Hub({{"acme/tiny": Repo(files)}}) as hub:
    pathlib.Path("/root/endpoint").write_text(hub.endpoint)
    signal.pause()
"""
OF_THE_HUB = {
    "extends": "tiny-vllm",
    "port": 18361,
    "source": {"model": "acme/tiny", "from": "the hub of this test"},
    "args": ["--enforce-eager"],
}


def test_weights_are_pulled_answer_and_go_again(node: Node) -> None:
    stack, cache = Stack(node), "/var/lib/spark-activator/hub/models--acme--tiny"
    node.write("/etc/spark-activator/models/tiny-hub.yaml", json.dumps(OF_THE_HUB))
    node.exec("spark-model apply && systemctl enable --now spark-model@tiny-hub.socket")
    node.wait("curl -sf http://127.0.0.1:8009/v1/models | grep -q '\"tiny-hub\"'")
    [told] = stack.ask(FRONT, "tiny-hub")
    assert (told["status"], told["error"]["code"]) == (503, "weights_missing"), told
    assert "sudo spark-model pull tiny-hub" in told["error"]["message"]
    node.exec(f"[ ! -e {cache} ]")

    node.put(ROOT / "tests/hub_server.py", "/root/hub_server.py")
    node.write("/root/hub.py", HUB)
    node.exec("systemd-run --quiet --unit hub python3 /root/hub.py")
    node.wait("[ -s /root/endpoint ]")
    pulled = _type(node, "HF_ENDPOINT=$(cat /root/endpoint) spark-model pull tiny-hub")
    assert "acme/tiny is whole, each file has the hash that the hub names" in pulled
    node.exec("systemctl stop hub")

    assert _type(node, "spark-model chat tiny-hub Hello").strip()
    assert "acme/tiny" in node.exec("spark-model disk").out
    node.exec("spark-model remove tiny-hub --weights --file --yes")
    node.exec(f"[ ! -e {cache} ]")
    assert "acme/tiny" not in node.exec("spark-model disk").out


def test_a_file_that_add_writes_for_a_folder_answers(node: Node) -> None:
    _type(node, f"spark-model add {MODELS}/tiny --name mine --image vllm-cpu")
    # vLLM is not in that image: images/vllm-cpu/README.md.
    mount = f"    /opt/vllm-cpu: {MODELS}/vllm-cpu"
    file = "/etc/spark-activator/models/mine.yaml"
    node.exec(f"sed -i '/^  mounts:/a\\{mount}' {file} && spark-model check {file}")

    _type(node, "spark-model enable mine")
    assert _type(node, "spark-model chat mine Hello").strip()
    node.exec("spark-model remove mine --file --yes")


def _type(node: Node, command: str) -> str:
    """Type one command in the checkout, and print how long it took."""
    began = time.monotonic()
    result = node.exec(f"cd {CHECKOUT} && {command}", env=registries.environment(), timeout=600)
    print(f"$ {command}    # {time.monotonic() - began:.1f} s\n{result.out}{result.err}")
    return result.out

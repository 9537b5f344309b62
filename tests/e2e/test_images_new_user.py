"""A new user's way to vLLM itself: four commands, typed and timed, on a machine with nothing.

Run by `tests/run --vllm` and `tests/run --long=images`.  What the commands download is
at hand: the packages of vLLM in the tests' cache, and Debian as an image of the node's
Docker.  All else they do here as they do elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import registries
from node import CHECKOUT, Node

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
    node.exec("spark-model remove tiny-vllm", timeout=120)


def _type(node: Node, command: str) -> str:
    """Type one command in the checkout, and print how long it took."""
    began = time.monotonic()
    result = node.exec(f"cd {CHECKOUT} && {command}", env=registries.environment(), timeout=600)
    print(f"$ {command}    # {time.monotonic() - began:.1f} s\n{result.out}{result.err}")
    return result.out

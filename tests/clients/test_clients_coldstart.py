"""Six minutes of loading, unscaled: whoever asks at its beginning is served at its end.

All clients ask at about the same time, and as each of them waits by itself for
what others load, it takes seven minutes in all.  Printed at the end: how each
of them fared, and what the engine logged, with the time of day.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import agents
import anthropic
import openai
import pytest
from front import Front

from spark_activator.demo.text import is_complete

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

HERE = Path(__file__).parent
LOAD = 360.0
# One engine initialises at a time, so the small one comes before or after.
SMALL_LOAD = 20.0
LIMIT = 900.0
TEXT = [{"role": "user", "content": "tell me"}]


@dataclass
class Fared:
    """How a client fared."""

    name: str
    seconds: float = 0.0
    said: str = ""
    wrong: str = "it is not back yet"


def sdk_clients(url: str) -> dict[str, Callable[[], str]]:
    """Return the SDKs' requests, each with the SDK's own limits and retries."""
    gpt = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    claude = anthropic.Anthropic(base_url=url, api_key="none")

    def chat_stream() -> str:
        stream = gpt.chat.completions.create(model="big", messages=TEXT, stream=True)
        return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)

    def chat() -> str:
        answer = gpt.chat.completions.create(model="big", messages=TEXT)
        return answer.choices[0].message.content

    def completion_stream() -> str:
        stream = gpt.completions.create(model="big", prompt="tell me", stream=True)
        return "".join(chunk.choices[0].text for chunk in stream)

    def responses_stream() -> str:
        with gpt.responses.stream(model="big", input="tell me") as stream:
            return stream.get_final_response().output_text

    def embeddings() -> str:
        gpt.embeddings.create(model="big", input="tell me")
        return ""

    def messages_stream() -> str:
        with claude.messages.stream(model="big", max_tokens=99, messages=TEXT) as stream:
            return "".join(stream.text_stream)

    def messages() -> str:
        answer = claude.messages.create(model="big", max_tokens=99, messages=TEXT)
        return answer.content[0].text

    return {
        "openai chat, streamed": chat_stream,
        "openai chat": chat,
        "openai completions, streamed": completion_stream,
        "openai responses, streamed": responses_stream,
        "openai embeddings": embeddings,
        "anthropic messages, streamed": messages_stream,
        "anthropic messages": messages,
    }


def litellm(url: str, way: str) -> str:
    """Ask by LiteLLM, in a process."""
    command = [agents.PYTHON, HERE / "litellm_client.py", url, "big", way]
    told = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert told.returncode == 0, told.stderr[-2000:]
    return json.loads(told.stdout.splitlines()[-1])["said"]


def agent(url: str, name: str) -> str:
    """Make an agent's whole turn."""
    with tempfile.TemporaryDirectory(prefix="spark-home-") as home:
        process = agents.start(agents.AGENTS[name](url, "big", "small"), Path(home))
        try:
            out, _ = process.communicate(timeout=LIMIT)
        finally:
            agents.end(process)
        assert process.returncode == 0, out[-4000:]
        assert agents.touched(Path(home)), out[-4000:]
    return ""


def fare(client: Fared, ask: Callable[[], str]) -> None:
    """Run one client and note how it went."""
    began = time.monotonic()
    try:
        client.said = ask()
        client.wrong = "" if not client.said or is_complete(client.said) else "some is missing"
    except Exception as error:  # noqa: BLE001  # whatever a client raises is how it fared
        client.wrong = f"{type(error).__name__}: {error}"
    client.seconds = time.monotonic() - began


def everybody(url: str) -> dict[str, Callable[[], str]]:
    """Return all that is installed here."""
    clients = sdk_clients(url)
    if agents.PYTHON.exists():
        for way in ("openai+stream", "openai", "anthropic+stream", "anthropic"):
            clients[f"litellm {way}"] = lambda way=way: litellm(url, way)
    for name in agents.AGENTS:
        if reason := agents.missing(name):
            print(f"left out: {reason}", file=sys.stderr)
        else:
            clients[name] = lambda name=name: agent(url, name)
    return clients


def test_every_client_survives_a_cold_start_of_six_minutes(stack: Front) -> None:
    stack.serve("big", "--max-tokens", "20", load=LOAD)
    stack.serve("small", "--max-tokens", "20", load=SMALL_LOAD)
    asking = everybody(stack.url)
    fared = [Fared(name) for name in asking]
    began = time.strftime("%H:%M:%S")
    threads = [
        threading.Thread(target=fare, args=(client, asking[client.name]), daemon=True)
        for client in fared
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT + 60)

    print(f"all asked at {began}")
    for client in fared:
        print(f"{client.name:32} {client.seconds:6.1f} s  {client.wrong or 'served'}")
    for name in ("big", "small"):
        print(f"what the engine '{name}' logged:")
        print("\n".join(line for line in stack.engine_log(name) if "GET /" not in line))
    assert [client.name for client in fared if client.wrong] == []
    assert stack.starts("big") == stack.starts("small") == 1

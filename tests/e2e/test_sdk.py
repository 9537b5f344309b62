"""OpenAI's own client, unchanged, against the one endpoint and a cold model."""

from __future__ import annotations

import json

import registries
from stack import Demo, Stack

MODEL = Demo("sdk-model", 18351, ("--load-time", "1", "--tokens-per-second", "50"))

SCRIPT = """
import json
from openai import OpenAI, NotFoundError

client = OpenAI(base_url="http://127.0.0.1:8009/v1", api_key="none", max_retries=0)
messages = [{"role": "user", "content": "Tell me a story"}]
told = {"models": [model.id for model in client.models.list()]}
whole = client.chat.completions.create(model="sdk-model", messages=messages, max_tokens=12)
told["whole"] = whole.choices[0].message.content
told["usage"] = whole.usage.completion_tokens
stream = client.chat.completions.create(
    model="sdk-model", messages=messages, max_tokens=12, stream=True
)
parts = [part.choices[0].delta.content or "" for part in stream if part.choices]
told["parts"] = len(parts)
told["streamed"] = "".join(parts)
try:
    client.chat.completions.create(model="no-such-model", messages=messages)
except NotFoundError as error:
    told["unknown"] = error.code
print(json.dumps(told))
"""


def test_openai_sdk_lists_and_chats_on_a_cold_model(stack: Stack) -> None:
    stack.node.exec(
        "[ -e /root/sdk ] || { python3 -m venv /root/sdk && /root/sdk/bin/pip install -q openai; }",
        env=registries.environment(),
        timeout=300,
    )
    stack.node.write("/root/sdk.py", SCRIPT)
    with stack.enabled(MODEL):
        stack.node.wait("curl -sf http://127.0.0.1:8009/v1/models | grep -q sdk-model")
        told = json.loads(stack.node.exec("/root/sdk/bin/python /root/sdk.py", timeout=90).out)

    assert told["models"] == ["sdk-model"]
    assert told["usage"] == 12
    assert told["streamed"] == told["whole"]
    assert told["parts"] >= 12
    assert told["unknown"] == "model_not_found"

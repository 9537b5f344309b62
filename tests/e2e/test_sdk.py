"""OpenAI's and Anthropic's own clients, unchanged, against the one endpoint and a cold model."""

from __future__ import annotations

import json

import registries
from stack import Demo, Stack

MODEL = Demo("sdk-model", 18351, ("--load-time", "1", "--tokens-per-second", "50"))

SCRIPT = """
import io, json
from anthropic import Anthropic
from openai import OpenAI, NotFoundError

client = OpenAI(base_url="http://127.0.0.1:8009/v1", api_key="none", max_retries=0)
claude = Anthropic(base_url="http://127.0.0.1:8009", api_key="none", max_retries=0)
ask = {"model": "sdk-model"}
messages = [{"role": "user", "content": "Tell me a story"}]
call = [{"role": "user", "content": 'call look {"at": "it"}'}]
tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
told = {"models": [model.id for model in client.models.list()]}

whole = client.chat.completions.create(messages=messages, max_tokens=12, **ask)
told["whole"] = whole.choices[0].message.content
told["usage"] = whole.usage.completion_tokens
stream = client.chat.completions.create(messages=messages, max_tokens=12, stream=True, **ask)
parts = [part.choices[0].delta.content or "" for part in stream if part.choices]
told["parts"] = len(parts)
told["streamed"] = "".join(parts)
with client.chat.completions.stream(messages=call, tools=[tool], **ask) as stream:
    [made] = stream.get_final_completion().choices[0].message.tool_calls
told["call"] = json.loads(made.function.arguments)

with client.responses.stream(input="Tell me a story", max_output_tokens=12, **ask) as stream:
    kept = stream.get_final_response()
told["response"] = kept.output_text
told["kept"] = client.responses.retrieve(kept.id).output_text
told["embedding"] = len(client.embeddings.create(input="x", **ask).data[0].embedding)
sound = ("a.wav", io.BytesIO(bytes(100_000)), "audio/wav")
told["heard"] = client.audio.transcriptions.create(file=sound, **ask).text

with claude.messages.stream(messages=messages, max_tokens=12, **ask) as stream:
    told["claude"] = "".join(stream.text_stream)
told["counted"] = claude.messages.count_tokens(messages=messages, **ask).input_tokens
try:
    client.chat.completions.create(model="no-such-model", messages=messages)
except NotFoundError as error:
    told["unknown"] = error.code
print(json.dumps(told))
"""


def test_sdks_are_served_by_a_cold_model(stack: Stack) -> None:
    stack.node.exec(
        "[ -e /root/sdk ] ||"
        " { python3 -m venv /root/sdk && /root/sdk/bin/pip install -q openai anthropic; }",
        env=registries.environment(),
        timeout=600,
    )
    stack.node.write("/root/sdk.py", SCRIPT)
    with stack.enabled(MODEL):
        stack.node.wait("curl -sf http://127.0.0.1:8009/v1/models | grep -q sdk-model")
        told = json.loads(stack.node.exec("/root/sdk/bin/python /root/sdk.py", timeout=300).out)

    assert told["models"] == ["sdk-model"]
    assert told["usage"] == 12
    assert told["whole"] == told["streamed"] == told["response"] == told["kept"] == told["claude"]
    assert told["parts"] >= 12
    assert told["call"] == {"at": "it"}
    assert told["embedding"] == 64
    assert told["heard"]
    assert told["counted"] == 4
    assert told["unknown"] == "model_not_found"

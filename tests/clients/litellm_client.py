"""LiteLLM by both of its ways to us; run by the environment of tests/setup_clients.sh.

usage: litellm_client.py URL MODEL WAY...   (a way is openai, anthropic, each also +stream)

Prints a JSON object a way: what was said, and the call of a tool.
"""

import json
import os
import sys

# It would look for newer prices, and tell how it is used.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

litellm.telemetry = False

TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}
CALL = 'call look {"where": "under the bed"}'


def ask(url: str, model: str, way: str, text: str, **more: object) -> dict[str, object]:
    """Ask once; a stream is put together again by LiteLLM itself."""
    provider, _, stream = way.partition("+")
    base = f"{url}/v1" if provider == "openai" else url
    messages = [{"role": "user", "content": text}]
    answer = litellm.completion(
        model=f"{provider}/{model}", api_base=base, api_key="none", messages=messages,
        stream=bool(stream), max_tokens=200, num_retries=2, timeout=900, **more,
    )  # fmt: skip
    if stream:
        answer = litellm.stream_chunk_builder(list(answer), messages=messages)
    message = answer.choices[0].message
    calls = [call.function.arguments for call in message.tool_calls or []]
    return {"said": message.content, "calls": calls}


def main() -> None:
    """Ask each way, for text and for a call."""
    url, model, *ways = sys.argv[1:]
    for way in ways:
        text = ask(url, model, way, "tell me")
        call = ask(url, model, way, CALL, tools=[TOOL])
        print(json.dumps({"way": way, "said": text["said"], "calls": call["calls"]}), flush=True)


main()

"""Requests for the policy, and models with rules for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spark_activator.catalog.model import (
    Capabilities,
    Engine,
    Model,
    Network,
    Requests,
    Source,
    Tools,
)
from spark_activator.errors import Refusal
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.apply import decide
from spark_activator.http.policy.decision import Decision

CAPABILITIES = ("tools", "vision", "reasoning")
OTHERS = ("context", "network", "presets", "args", "engine")

FUNCTION: dict[str, Any] = {
    "name": "look",
    "parameters": {"type": "object", "properties": {"where": {"type": "string"}}},
}
TOOL: dict[str, Any] = {"type": "function", "function": FUNCTION}
HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def model(**keys: Any) -> Model:
    """Make a model with *keys* of its file, whatever section they are in."""
    if isinstance(keys.get("tools"), str):
        keys["tools"] = Tools(keys["tools"])
    if isinstance(keys.get("network"), str):
        keys["network"] = Network(keys["network"])
    capabilities = {key: keys.pop(key) for key in CAPABILITIES if key in keys}
    others = {key: keys.pop(key) for key in OTHERS if key in keys}
    return Model(
        name="m",
        port=18100,
        source=Source("org/m"),
        memory=1 << 30,
        capabilities=Capabilities(**capabilities),
        requests=Requests(**keys),
        **{"engine": Engine.VLLM, **others},
    )


def ask(
    fields: dict[str, Any] | bytes | str, endpoint: Endpoint = Endpoint.CHAT, **keys: Any
) -> Decision:
    """Have a request decided for a model with *keys*."""
    if isinstance(fields, dict):
        fields = json.dumps(fields)
    body = fields.encode() if isinstance(fields, str) else fields
    return decide(body, endpoint, model(**keys))


def sent(decision: Decision) -> dict[str, Any]:
    """Read what the engine gets."""
    fields = json.loads(decision.body)
    assert isinstance(fields, dict)
    return fields


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    """Make a request with *messages*: objects, or a user's text."""
    full = [
        {"role": "user", "content": each} if isinstance(each, str) else each for each in messages
    ]
    return {"model": "m", "messages": full, **more}


def refusal(
    fields: dict[str, Any] | bytes | str, endpoint: Endpoint = Endpoint.CHAT, **keys: Any
) -> Refusal:
    """Expect that a request is refused, and say how."""
    with pytest.raises(Refusal) as raised:
        ask(fields, endpoint, **keys)
    return raised.value

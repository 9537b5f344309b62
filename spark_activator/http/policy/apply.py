"""The whole policy: a request's bytes in, a `Decision` out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spark_activator.catalog.model import Model
from spark_activator.http.endpoints import JSON_BODIES, STREAMED, Endpoint
from spark_activator.http.policy import limits, rules
from spark_activator.http.policy.decision import Decision
from spark_activator.http.policy.hints import tool_hints
from spark_activator.http.policy.naming import name_model
from spark_activator.http.policy.places import asks_for_stream
from spark_activator.http.policy.refused import check
from spark_activator.http.policy.roles import flatten_text, strict_roles
from spark_activator.http.policy.strict import Fields, read
from spark_activator.http.policy.thinking import thinking, thinking_default

Rule = Callable[[Fields, Endpoint, Model], Fields]

# In this order: what the owner sets is what the other rules see, a hint for tools
# goes where the system's text goes, and what a stream is asked for depends on
# which tools are left.
RULES: Final[dict[str, Rule]] = {
    "model": name_model,
    "set": rules.set_fields,
    "preset": rules.preset,
    "tools": rules.tools,
    "tool_choice": rules.tool_choice,
    "thinking": thinking,
    "thinking_default": thinking_default,
    "flatten_text": flatten_text,
    "tool_hints": tool_hints,
    "strict_roles": strict_roles,
}


def decide(body: bytes, endpoint: Endpoint, model: Model) -> Decision:
    """Apply the rules of *model* to the JSON *body* of a request.

    Raises:
        Refusal: It is not strict JSON, or asks for what is not served.
    """
    if endpoint not in JSON_BODIES:
        return Decision(body)
    source = read(body)
    changed = []
    fields = rules.strip(source.fields, endpoint, model)
    if fields is not source.fields:
        changed.append("strip")
    check(fields, source, endpoint, model, rules.owned(fields, model))
    for name, rule in RULES.items():
        after = rule(fields, endpoint, model)
        if after is not fields:
            changed.append(name)
        fields = after
    stream = endpoint in STREAMED and asks_for_stream(fields)
    options = fields.get("stream_options")
    replay = rules.buffers(fields, endpoint, model)
    if replay:
        fields = rules.stream_tools(fields, endpoint, model)
        changed.append("stream_tools")
    after, clamp = limits.clamp(fields, source, endpoint, model)
    if after is not fields:
        changed.append(limits.NAME)
    return Decision(
        source.write(after) if changed else body,
        tuple(changed),
        stream=stream,
        replay=replay,
        usage=isinstance(options, dict) and options.get("include_usage") is True,
        clamp=clamp,
    )


reclamp = limits.reclamp

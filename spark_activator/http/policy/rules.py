"""What the owner's file says about single fields of a request.

A rule takes the fields and returns them, or other ones where it changed
something; all of them are such that a second time changes nothing more.
"""

from __future__ import annotations

from typing import Any, Final

from spark_activator.catalog.model import Model, Tools
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.places import asks_for_stream
from spark_activator.http.policy.strict import Fields

KWARGS: Final = "chat_template_kwargs"

_TOOL_FIELDS = frozenset(
    {
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "parallel_tool_calls",
        "max_tool_calls",
    }
)
# What a message or item has that comes after a call.
_RESULTS = ("tool", "function", "function_call_output", "tool_result")


def owned(fields: Fields, model: Model) -> Fields:
    """Return what the owner sets in this request: a preset's fields, and those of all requests."""
    name = fields.get("model")
    preset = model.presets.get(name, {}) if isinstance(name, str) else {}
    return {**model.requests.set, **preset} if preset else model.requests.set


def strip(fields: Fields, _: Endpoint, model: Model) -> Fields:
    """Take out the fields of `requests.strip`, but for those that are set anyway."""
    if not model.requests.strip:
        return fields
    gone = set(model.requests.strip) - owned(fields, model).keys()
    return _without(fields, gone)


def set_fields(fields: Fields, _: Endpoint, model: Model) -> Fields:
    """Set the fields of `requests.set`."""
    name = fields.get("model")
    preset = model.presets.get(name, {}) if isinstance(name, str) else {}
    return _with(fields, {k: v for k, v in model.requests.set.items() if k not in preset})


def preset(fields: Fields, _: Endpoint, model: Model) -> Fields:
    """Set the fields of the preset that the request names as its model."""
    name = fields.get("model")
    return _with(fields, model.presets.get(name, {})) if isinstance(name, str) else fields


def tools(fields: Fields, _: Endpoint, model: Model) -> Fields:
    """Take all about tools out of requests to a model that cannot call them."""
    if model.capabilities.tools is not Tools.NONE:
        return fields
    return _without(fields, _TOOL_FIELDS)


def tool_choice(fields: Fields, endpoint: Endpoint, model: Model) -> Fields:
    """Ask for a call where the client leaves the choice and no result is there yet."""
    if model.capabilities.tools is not Tools.FORCED or not has_tools(fields):
        return fields
    messages = endpoint is Endpoint.MESSAGES
    choice = fields.get("tool_choice")
    free = {"type": "auto"} if messages else "auto"
    if (choice is not None and not _same_choice(choice, free)) or _has_results(fields):
        return fields
    forced = {**choice, "type": "any"} if isinstance(choice, dict) else {"type": "any"}
    return {**fields, "tool_choice": forced if messages else "required"}


def stream_tools(fields: Fields, endpoint: Endpoint, model: Model) -> Fields:
    """Ask for a whole answer where a stream could have calls of tools in it."""
    if not buffers(fields, endpoint, model):
        return fields
    return {**_without(fields, {"stream_options"}), "stream": False}


def buffers(fields: Fields, endpoint: Endpoint, model: Model) -> bool:
    """Whether the engine is to be asked without streaming for what the client wants streamed."""
    return bool(
        model.requests.stream_tools == "buffer"
        and endpoint in (Endpoint.CHAT, Endpoint.MESSAGES, Endpoint.RESPONSES)
        and asks_for_stream(fields)
        and may_call(fields)
        and not fields.get("background")
    )


def has_tools(fields: Fields) -> bool:
    """Whether there is a tool to call."""
    return bool(fields.get("tools")) or bool(fields.get("functions"))


def may_call(fields: Fields) -> bool:
    """Whether there is a tool, and the choice is not to call none."""
    choice = fields.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return has_tools(fields) and kind != "none"


def _same_choice(choice: object, free: object) -> bool:
    if isinstance(choice, dict) and isinstance(free, dict):
        return bool(choice.get("type") == free["type"])
    return choice == free


def _has_results(fields: Fields) -> bool:
    items = fields.get("messages", fields.get("input"))
    if not isinstance(items, list):
        return False
    for item in items:
        if not isinstance(item, dict):
            continue
        if item.get("role") in _RESULTS or item.get("type") in _RESULTS:
            return True
        content = item.get("content")
        parts = content if isinstance(content, list) else []
        if any(isinstance(part, dict) and part.get("type") in _RESULTS for part in parts):
            return True
    return False


def _with(fields: Fields, more: Fields) -> Fields:
    result: dict[str, Any] = dict(fields)
    changed = False
    for key, value in more.items():
        if key == "stream_options" and not asks_for_stream(fields):
            continue  # engines refuse it there
        here = result.get(key)
        both = key == KWARGS and isinstance(here, dict) and isinstance(value, dict)
        wanted = {**here, **value} if both else value  # type: ignore[dict-item]  # both are
        if key not in result or not _equal(here, wanted):
            result[key] = wanted
            changed = True
    return result if changed else fields


def _without(fields: Fields, gone: set[str] | frozenset[str]) -> Fields:
    if gone.isdisjoint(fields):
        return fields
    return {key: value for key, value in fields.items() if key not in gone}


def _equal(one: object, other: object) -> bool:
    """Compare values by what they mean in JSON, where 1, 1.0 and true are three."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other
    return type(one) is type(other) and one == other

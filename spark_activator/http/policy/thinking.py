"""Whether the model thinks: one way to ask for it, whichever a client knows.

Clients say it in the words of the service that they were written for.  What
decides in the end are two arguments of chat templates, `enable_thinking` (Qwen,
GLM, Gemma) and `thinking` (DeepSeek, Granite); a template ignores the one that
it does not know.
"""

from __future__ import annotations

from typing import Any, Final

from spark_activator.catalog.model import Model
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.places import CHATS
from spark_activator.http.policy.rules import KWARGS
from spark_activator.http.policy.strict import Fields

ARGUMENTS: Final = ("enable_thinking", "thinking")

# What every engine takes for these words; gpt-oss knows the middle three only,
# and vLLM answers 400 to what is in no list of its own.
EFFORTS: Final[dict[str, str | None]] = {
    "none": None,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
    "auto": None,
}
# Fields that mean something else, or the same, in the endpoint's own API.
_OWN: dict[Endpoint, tuple[str, ...]] = {
    Endpoint.RESPONSES: ("reasoning",),
    Endpoint.MESSAGES: ("thinking",),
    Endpoint.COUNT_TOKENS: ("thinking",),
}
_TYPES = {"enabled": True, "adaptive": True, "disabled": False}


def thinking(fields: Fields, endpoint: Endpoint, model: Model) -> Fields:
    """Turn every spelling into arguments of the chat template; explicit ones win."""
    if endpoint not in CHATS or not _is_asked(model):
        return fields
    allowed = model.requests.allow
    own = _OWN.get(endpoint, ())
    result, wishes = dict(fields), []
    for key in ARGUMENTS:
        wish = _flag(fields.get(key)) if key not in allowed else None
        wishes.append(wish)
        if wish is not None and (key not in own or isinstance(fields[key], bool)):
            del result[key]
    for key in ("reasoning_effort", "reasoningEffort", "reasoning"):
        if fields.get(key) is None or key in allowed:
            continue
        wishes.append(_effort(fields[key]))
        if key not in own:
            _take_effort(result, key)
    wish = next((wish for wish in wishes if wish is not None), None)
    if wish is not None:
        result = dict(_with_arguments(result, on=wish))
    return fields if list(result.items()) == list(fields.items()) else result


def thinking_default(fields: Fields, endpoint: Endpoint, model: Model) -> Fields:
    """Turn thinking on or off where the client has said nothing."""
    default = model.requests.thinking_default
    if default is None or endpoint not in CHATS:
        return fields
    return _with_arguments(fields, on=default)


def _is_asked(model: Model) -> bool:
    """Whether the model thinks, by a template that takes arguments.

    vLLM answers 400 to any where Mistral's own tokenizer makes the prompt, and
    `reasoning_effort` means something there.
    """
    args = " ".join(model.args).replace("=", " ").replace("_", "-")
    if "--tokenizer-mode mistral" in args:
        return False
    return model.capabilities.reasoning or model.requests.thinking_default is not None


def _with_arguments(fields: Fields, *, on: bool) -> Fields:
    given = fields.get(KWARGS)
    given = {} if given is None else given
    if not isinstance(given, dict) or any(given.get(key) is not None for key in ARGUMENTS):
        return fields
    return {**fields, KWARGS: {**given, **dict.fromkeys(ARGUMENTS, on)}}


def _flag(value: object) -> bool | None:
    """Read `true`, or `{"type": "enabled"}`."""
    if isinstance(value, dict):
        value = value.get("type")
    if isinstance(value, str):
        return _TYPES.get(value)
    return value if isinstance(value, bool) else None


def _effort(value: object) -> bool | None:
    """Read `"high"`, or `{"effort": "high"}`, or `{"enabled": true}`."""
    if isinstance(value, dict):
        enabled = value.get("enabled")
        value = value.get("effort")
        if isinstance(enabled, bool) and value is None:
            return enabled
    if isinstance(value, str) and value.lower() in EFFORTS:
        return value.lower() != "none"
    return None


def _take_effort(result: dict[str, Any], key: str) -> None:
    """Leave `reasoning_effort` in *result*, in a word that every engine takes, and no other."""
    value, rest = result[key], {}
    if isinstance(value, dict):
        rest = {k: v for k, v in value.items() if k not in ("effort", "enabled")}
        value = value.get("effort")
    word = EFFORTS.get(value.lower()) if isinstance(value, str) else None
    if key == "reasoning_effort" and word is not None:
        result[key] = word
        return
    if rest:
        result[key] = rest
    else:
        del result[key]
    if word is not None:
        result.setdefault("reasoning_effort", word)

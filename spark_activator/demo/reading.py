"""A request's body → what is to be generated, or what is wrong with it."""

from __future__ import annotations

from typing import Any

from spark_activator.demo import calls, faults, prompts, text
from spark_activator.demo.asked import (
    Api,
    Asked,
    BadRequest,
    Block,
    Kind,
    model_of,
    object_of,
)
from spark_activator.demo.settings import Settings

# Where each API has the limit of an answer's tokens.
_LIMITS = {
    Api.CHAT: ("max_completion_tokens", "max_tokens"),
    Api.COMPLETIONS: ("max_tokens",),
    Api.RESPONSES: ("max_output_tokens",),
    Api.MESSAGES: ("max_tokens",),
}


def read(raw: bytes, settings: Settings, api: Api) -> Asked:
    """Read the body *raw* of a request that wants text.

    Raises:
        BadRequest: It is none that we serve.
    """
    body = object_of(raw)
    if body.get("n", 1) not in (1, None):
        raise BadRequest("n: this engine gives one answer")
    model = model_of(body.get("model"), settings)
    prompt = prompts.read(body, api)
    limit = _limit(body, api)
    check_context(settings, prompt.length, limit)
    blocks, reason = _blocks(body, prompt, limit, settings)
    options = body.get("stream_options")
    return Asked(
        api=api,
        model=model,
        blocks=tuple(blocks),
        reason=reason,
        prompt_tokens=prompt.length,
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        fault=faults.directive(prompt.last) if settings.faults.allow_faults else None,
        body=body,
    )


def check_context(settings: Settings, length: int, limit: int | None) -> None:
    """Check that prompt and answer fit, as vLLM does and in its words.

    Raises:
        BadRequest: They do not.
    """
    room = settings.max_model_len
    if room is not None and length + (limit or 0) > room:
        raise BadRequest(
            f"This model's maximum context length is {room} tokens. However, you requested "
            f"{length + (limit or 0)} tokens ({length} in the messages, {limit or 0} in the "
            "completion). Please reduce the length of the messages or completion."
        )


def _limit(body: dict[str, Any], api: Api) -> int | None:
    for key in _LIMITS[api]:
        value = body.get(key)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            raise BadRequest(f"{key}: expected a number above 0, got {value!r}")
        return value
    if api is Api.MESSAGES:
        raise BadRequest("max_tokens: Field required")
    return None


def _blocks(
    body: dict[str, Any], prompt: prompts.Prompt, limit: int | None, settings: Settings
) -> tuple[list[Block], str]:
    thoughts = _thoughts(body, prompt, settings)
    if called := calls.wanted(prompt):
        return [*thoughts, *called], "tool_calls"
    stops = body.get("stop", body.get("stop_sequences")) or []
    stops = [stops] if isinstance(stops, str) else stops
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise BadRequest("stop: expected a string or a list of strings")
    tokens, reason = text.answer_tokens(
        settings.text, prompt.last, length=settings.max_tokens, limit=limit,
        endless=body.get("ignore_eos") is True,
    )  # fmt: skip
    kept = text.cut_at(tokens, stops)
    reason = reason if len(kept) == len(tokens) else "stop"
    return [*thoughts, Block(Kind.TEXT, kept)], reason


def _thoughts(body: dict[str, Any], prompt: prompts.Prompt, settings: Settings) -> list[Block]:
    """Think first, if told to on the command line and not told otherwise by the request."""
    asked = body.get("chat_template_kwargs")
    told = asked if isinstance(asked, dict) else {}
    if not settings.reasoning or told.get("enable_thinking", told.get("thinking")) is False:
        return []
    tokens, _ = text.answer_tokens(
        "story", f"think: {prompt.last}", length=settings.reasoning, limit=None, endless=False
    )
    return [Block(Kind.REASONING, tokens)]

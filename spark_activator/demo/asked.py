"""A request's body → what is to be generated, or what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from spark_activator.demo import faults, text
from spark_activator.demo.settings import Settings


class BadRequest(Exception):
    """The request cannot be served.

    Attributes:
        status: The HTTP status.
        message: What was expected.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer to give.

    Attributes:
        chat: Whether it came as chat, not as a completion.
        model: The name under which the client knows us.
        tokens: What will be said.
        reason: Why there is no more of it, `stop` or `length`.
        prompt_tokens: How long the prompt was.
        stream: Send each token as it comes.
        include_usage: End a stream with the numbers.
        fault: What goes wrong on the way, or None.
    """

    chat: bool
    model: str
    tokens: list[str]
    reason: str
    prompt_tokens: int
    stream: bool
    include_usage: bool
    fault: faults.Directive | None


def read(raw: bytes, settings: Settings, *, chat: bool) -> Asked:
    """Read the body *raw* of a chat or completion request.

    Raises:
        BadRequest: It is none that we serve.
    """
    body = _object(raw)
    model = _model(body, settings)
    parts = _chat_prompt(body) if chat else [_completion_prompt(body)]
    # The demo engine's memory is short: it answers what was said last.
    prompt, length = parts[-1], sum(text.count_tokens(part) for part in parts)
    limit = _limit(body)
    _check_context(settings.max_model_len, length, limit)
    stops = body.get("stop") or []
    stops = [stops] if isinstance(stops, str) else stops
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise BadRequest("stop: expected a string or a list of strings")
    tokens, reason = text.answer_tokens(
        settings.text, prompt, length=settings.max_tokens, limit=limit,
        endless=body.get("ignore_eos") is True,
    )  # fmt: skip
    kept = text.cut_at(tokens, stops)
    options = body.get("stream_options")
    return Asked(
        chat=chat,
        model=model,
        tokens=kept,
        reason=reason if len(kept) == len(tokens) else "stop",
        prompt_tokens=length,
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        fault=faults.directive(prompt) if settings.faults.allow_faults else None,
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"expected a JSON object: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("expected a JSON object")
    if body.get("n", 1) not in (1, None):
        raise BadRequest("n: this engine gives one answer")
    return body


def _model(body: dict[str, Any], settings: Settings) -> str:
    model = body.get("model")
    if model is None:
        return settings.names[0]
    if model not in settings.names:
        raise BadRequest(f"The model `{model}` does not exist.", status=404)
    return str(model)


def _limit(body: dict[str, Any]) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        value = body.get(key)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            raise BadRequest(f"{key}: expected a number above 0, got {value!r}")
        return value
    return None


def _check_context(room: int | None, length: int, limit: int | None) -> None:
    if room is not None and length + (limit or 0) > room:
        raise BadRequest(
            f"This model's maximum context length is {room} tokens. However, you requested "
            f"{length + (limit or 0)} tokens ({length} in the messages, {limit or 0} in the "
            "completion). Please reduce the length of the messages or completion."
        )


def _chat_prompt(body: dict[str, Any]) -> list[str]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: expected a list with at least one message")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest("messages: expected objects with a role")
    return [_content(message.get("content")) for message in messages]


def _content(content: object) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise BadRequest("messages: content: expected a string or a list of parts")
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise BadRequest("messages: content: this engine only reads parts of type text")
        parts.append(str(part.get("text", "")))
    return "\n".join(parts)


def _completion_prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and prompt:
        if all(isinstance(part, str) for part in prompt):
            return "\n".join(prompt)
        if all(type(part) is int for part in prompt):
            return " ".join(str(part) for part in prompt)
    raise BadRequest("prompt: expected a string, a list of strings or a list of tokens")

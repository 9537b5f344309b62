"""A whole answer, told as the stream that the client asked for.

Engines that lose calls of tools while streaming are asked for the whole answer;
what comes out of here is what they would have sent if they could: each part of
it in one event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from spark_activator.errors import Refusal
from spark_activator.http.endpoints import Endpoint

_Object = dict[str, Any]

_DONE: Final = b"data: [DONE]\n\n"
# What every chunk of a stream repeats of the answer.
_ENVELOPE = ("id", "created", "model", "service_tier", "system_fingerprint")
# What a response's last event is called, by its status.
_LAST = {"completed": "completed", "incomplete": "incomplete", "failed": "failed"}
# Of a message that streams piece by piece, and what a piece is called.
_REASONING = ("reasoning", "reasoning_content")


def replay(answer: bytes, endpoint: Endpoint, *, usage: bool) -> list[bytes]:
    """Tell *answer*, the JSON of an engine's 200, as server-sent events.

    Args:
        answer: All of it.
        endpoint: Which API's events.
        usage: Whether chats and completions end with a chunk that has the usage.

    Returns:
        The events, each with the blank line that ends it.

    Raises:
        Refusal: It is no answer of that endpoint (`bad_gateway`).
    """
    try:
        whole = json.loads(answer)
        return list(_STREAMS[endpoint](whole, usage))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Refusal("bad_gateway", "the engine's answer cannot be streamed") from None


def _chat(whole: _Object, usage: bool) -> Iterator[bytes]:  # noqa: FBT001  # as its siblings
    for choice in whole["choices"]:
        index, message = choice["index"], dict(choice["message"])
        yield _chunk(whole, "chat.completion.chunk", _choice(index, role=message.pop("role")))
        for delta in _deltas(message):
            logprobs = choice.get("logprobs") if "content" in delta else None
            yield _chunk(whole, "chat.completion.chunk", _choice(index, logprobs, **delta))
        last = {k: v for k, v in choice.items() if k not in ("index", "message", "logprobs")}
        yield _chunk(whole, "chat.completion.chunk", {"index": index, "delta": {}, **last})
    if usage:
        yield _chunk(whole, "chat.completion.chunk", usage=whole.get("usage"))
    yield _DONE


def _deltas(message: _Object) -> Iterator[_Object]:
    """Take a message apart, in the order in which a model says it."""
    calls = message.pop("tool_calls", None) or []
    for key in (*_REASONING, "content"):
        value = message.pop(key, None)
        if value:
            yield {key: value}
    rest = {key: value for key, value in message.items() if value not in (None, [])}
    if rest:
        yield rest
    for n, call in enumerate(calls):
        yield {"tool_calls": [{"index": n, **call}]}


def _choice(index: int, logprobs: object = None, **delta: object) -> _Object:
    choice: _Object = {"index": index, "delta": delta, "finish_reason": None}
    return choice if logprobs is None else {**choice, "logprobs": logprobs}


def _completions(whole: _Object, usage: bool) -> Iterator[bytes]:  # noqa: FBT001  # as its siblings
    for choice in whole["choices"]:
        yield _chunk(whole, "text_completion", {**choice, "text": choice["text"]})
    if usage:
        yield _chunk(whole, "text_completion", usage=whole.get("usage"))
    yield _DONE


def _chunk(whole: _Object, kind: str, *choices: _Object, **more: object) -> bytes:
    envelope = {key: whole[key] for key in _ENVELOPE if key in whole}
    return _data({**envelope, "object": kind, "choices": list(choices), **more})


def _messages(whole: _Object, _: bool) -> Iterator[bytes]:  # noqa: FBT001  # as its siblings
    usage = whole.get("usage") or {"input_tokens": 0, "output_tokens": 0}
    ends = ("stop_reason", "stop_sequence")
    start = {**whole, "content": [], **dict.fromkeys(ends), "usage": {**usage, "output_tokens": 0}}
    yield _event({"type": "message_start", "message": start})
    for index, block in enumerate(whole["content"]):
        first, deltas = _block(block)
        yield _event({"type": "content_block_start", "index": index, "content_block": first})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    delta = {key: whole.get(key) for key in ends}
    yield _event({"type": "message_delta", "delta": delta, "usage": usage})
    yield _event({"type": "message_stop"})


def _block(block: _Object) -> tuple[_Object, list[_Object]]:
    """Return how a block begins, and what is added to it."""
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
        if block.get("signature"):
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", "signature": ""}, deltas
    if block["type"] == "tool_use":
        text = _json(block.get("input") or {})
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": text}]
    return block, []


def _responses(whole: _Object, _: bool) -> Iterator[bytes]:  # noqa: FBT001  # as its siblings
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[_Object] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(whole["output"]):
        events += _item(item, index)
    last = _LAST.get(whole.get("status", "completed"), "completed")
    events.append({"type": f"response.{last}", "response": whole})
    for number, event in enumerate(events):
        yield _event({"type": event.pop("type"), "sequence_number": number, **event})


def _item(item: _Object, index: int) -> Iterator[_Object]:
    begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
    inside: list[_Object] = []
    for key, part_kind in (("content", "content_part"), ("summary", "reasoning_summary_part")):
        if isinstance(item.get(key), list):
            begun[key] = []
            for n, part in enumerate(item[key]):
                inside += _part(part, part_kind, {f"{_INDEX[key]}": n})
    if isinstance(item.get("arguments"), str) and item["type"] == "function_call":
        begun["arguments"] = ""
        kind, text = "response.function_call_arguments", item["arguments"]
        inside.append({"type": f"{kind}.delta", "delta": text})
        inside.append({"type": f"{kind}.done", "arguments": text, "name": item["name"]})
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    where = {"output_index": index, "item_id": item.get("id") or f"item_{index}"}
    for event in inside:
        yield {"type": event.pop("type"), **where, **event}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


_INDEX = {"content": "content_index", "summary": "summary_index"}
# Kinds of parts, with what their text is called.
_PARTS = {
    "output_text": ("output_text", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("reasoning_text", "text"),
    "summary_text": ("reasoning_summary_text", "text"),
}


def _part(part: _Object, kind: str, where: _Object) -> Iterator[_Object]:
    name, key = _PARTS.get(part["type"], ("", ""))
    empty = {**part, key: ""} if name else part
    yield {"type": f"response.{kind}.added", **where, "part": empty}
    if name:
        logprobs = {"logprobs": part.get("logprobs") or []} if name == "output_text" else {}
        event = f"response.{name}"
        yield {"type": f"{event}.delta", **where, "delta": part[key], **logprobs}
        yield {"type": f"{event}.done", **where, key: part[key], **logprobs}
    yield {"type": f"response.{kind}.done", **where, "part": part}


def _data(value: _Object) -> bytes:
    return f"data: {_json(value)}\n\n".encode()


def _event(value: _Object) -> bytes:
    return f"event: {value['type']}\n".encode() + _data(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_STREAMS = {
    Endpoint.CHAT: _chat,
    Endpoint.COMPLETIONS: _completions,
    Endpoint.MESSAGES: _messages,
    Endpoint.RESPONSES: _responses,
}

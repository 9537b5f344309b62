"""Anthropic's messages, as vLLM speaks them."""

from __future__ import annotations

import json
from typing import Any

from spark_activator.demo.asked import Asked, Block, Kind
from spark_activator.demo.shapes import around, dump, event

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
# How each kind of block begins, the type of its deltas and where they have the token.
_DELTAS = {
    Kind.TEXT: ("text_delta", "text"),
    Kind.REASONING: ("thinking_delta", "thinking"),
    Kind.CALL: ("input_json_delta", "partial_json"),
}


class Events:
    """A `Writer` of messages."""

    def __init__(self, asked: Asked, *, number: str) -> None:
        self._asked = asked
        self._id = f"chatcmpl-{number}"
        self._index = -1
        self._before = self._after = b""

    def whole(self) -> bytes:
        """Write a whole message."""
        asked = self._asked
        content = [_block(block, complete=True) for block in asked.blocks]
        return dump({**self._message(content, _REASONS[asked.reason]), "usage": self._usage()})

    def begin(self) -> list[bytes]:
        """Write the message without anything in it."""
        usage = {"input_tokens": self._asked.prompt_tokens, "output_tokens": 0}
        return [_event("message_start", message={**self._message([], None), "usage": usage})]

    def open(self, block: Block) -> list[bytes]:
        """Write the block without anything in it."""
        self._index += 1
        kind, key = _DELTAS[block.kind]
        self._before, self._after = around(
            _event("content_block_delta", index=self._index, delta={"type": kind, key: "\0"})
        )
        empty = _block(block, complete=False)
        return [_event("content_block_start", index=self._index, content_block=empty)]

    def token(self, token: str, *, last: bool) -> bytes:
        """Write the event of one token."""
        del last  # the message's end says it
        return self._before + dump(token) + self._after

    def close(self, block: Block) -> list[bytes]:
        """End a block; a thought is signed before."""
        events = [_event("content_block_stop", index=self._index)]
        if block.kind is Kind.REASONING:
            signed = {"type": "signature_delta", "signature": "demo"}
            events.insert(0, _event("content_block_delta", index=self._index, delta=signed))
        return events

    def end(self) -> list[bytes]:
        """Write the reason and the numbers."""
        delta = {"stop_reason": _REASONS[self._asked.reason], "stop_sequence": None}
        return [
            _event("message_delta", delta=delta, usage=self._usage()),
            _event("message_stop"),
        ]

    def _message(self, content: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._asked.model,
            "stop_reason": reason,
            "stop_sequence": None,
        }

    def _usage(self) -> dict[str, int]:
        return {"input_tokens": self._asked.prompt_tokens, "output_tokens": self._asked.length}


def _block(block: Block, *, complete: bool) -> dict[str, Any]:
    text = block.text if complete else ""
    match block.kind:
        case Kind.TEXT:
            return {"type": "text", "text": text}
        case Kind.REASONING:
            signature = {"signature": "demo"} if complete else {}
            return {"type": "thinking", "thinking": text, **signature}
        case Kind.CALL:
            return {
                "type": "tool_use",
                "id": f"chatcmpl-tool-{block.number}",
                "name": block.name,
                "input": json.loads(text) if complete else {},
            }


def _event(name: str, **more: object) -> bytes:
    return event({"type": name, **more}, name)

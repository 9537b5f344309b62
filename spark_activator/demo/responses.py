"""OpenAI's responses, as vLLM speaks them."""

from __future__ import annotations

from typing import Any

from spark_activator.demo.asked import Asked, Block, Kind
from spark_activator.demo.shapes import around, dump, event

# The event of a token, by what it belongs to.
_DELTAS = {
    Kind.TEXT: "response.output_text.delta",
    Kind.REASONING: "response.reasoning_text.delta",
    Kind.CALL: "response.function_call_arguments.delta",
}
# What a response repeats of its request, with what stands there without it.
_REPEATED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": None,
    "service_tier": "auto",
    "temperature": 1.0,
    "text": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


class Events:
    """A `Writer` of responses."""

    def __init__(self, asked: Asked, *, number: str, created: int) -> None:
        self._asked = asked
        self.id = f"resp_{number}"
        self._number = number
        self._created = created
        self._index = -1
        self._sequence = -1
        self._delta = ""
        self._before = self._after = b""

    def whole(self) -> bytes:
        """Write a whole response."""
        return dump(self.response(self.ended))

    @property
    def ended(self) -> str:
        """The status of a response that was given to its end."""
        return "incomplete" if self._asked.reason == "length" else "completed"

    def response(self, status: str) -> dict[str, Any]:
        """Return the response as it is in *status*; only an ended one has its output."""
        asked, over = self._asked, status in ("completed", "incomplete")
        output = [self._item(index, block, over=True) for index, block in enumerate(asked.blocks)]
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "model": asked.model,
            "status": status,
            "incomplete_details": cut,
            "output": output if over else [],
            "usage": self._usage() if over else None,
            **{key: asked.body.get(key, other) for key, other in _REPEATED.items()},
        }

    def begin(self) -> list[bytes]:
        """Write the response without anything in it."""
        empty = self.response("in_progress")
        return [
            self._event("response.created", response=empty),
            self._event("response.in_progress", response=empty),
        ]

    def open(self, block: Block) -> list[bytes]:
        """Write the item without anything in it."""
        self._index += 1
        self._delta = _DELTAS[block.kind]
        place = self._place(block)
        body: dict[str, Any] = {"delta": "\0", **place}
        if block.kind is Kind.TEXT:
            body["logprobs"] = []
        self._before, self._after = around(dump(body))
        events = [
            self._event(
                "response.output_item.added",
                output_index=self._index,
                item=self._item(self._index, block, over=False),
            )
        ]
        if block.kind is not Kind.CALL:
            part = _part(block.kind, "")
            events.append(self._event("response.content_part.added", **place, part=part))
        return events

    def token(self, token: str, *, last: bool) -> bytes:
        """Write the event of one token."""
        del last  # the response's end says it
        self._sequence += 1
        name = self._delta
        head = f'event: {name}\ndata: {{"type":"{name}","sequence_number":{self._sequence},'
        return head.encode() + self._before[1:] + dump(token) + self._after + b"\n\n"

    def close(self, block: Block) -> list[bytes]:
        """Write all of the block once more, as this API does."""
        place = self._place(block)
        done = _DELTAS[block.kind].replace(".delta", ".done")
        told: dict[str, Any] = {"text": block.text}
        if block.kind is Kind.TEXT:
            told["logprobs"] = []
        elif block.kind is Kind.CALL:
            told = {"arguments": block.text, "name": block.name}
        events = [self._event(done, **place, **told)]
        if block.kind is not Kind.CALL:
            part = _part(block.kind, block.text)
            events.append(self._event("response.content_part.done", **place, part=part))
        item = self._item(self._index, block, over=True)
        events.append(self._event("response.output_item.done", output_index=self._index, item=item))
        return events

    def end(self) -> list[bytes]:
        """Write the whole response; vLLM says `completed` to one that was cut, too."""
        return [self._event("response.completed", response=self.response(self.ended))]

    def _place(self, block: Block) -> dict[str, Any]:
        place = {"item_id": self._item_id(self._index, block), "output_index": self._index}
        return place if block.kind is Kind.CALL else {**place, "content_index": 0}

    def _item_id(self, index: int, block: Block) -> str:
        prefix = {Kind.TEXT: "msg", Kind.REASONING: "rs", Kind.CALL: "fc"}[block.kind]
        return f"{prefix}_{self._number}{index}"

    def _item(self, index: int, block: Block, *, over: bool) -> dict[str, Any]:
        status = "completed" if over else "in_progress"
        head = {"id": self._item_id(index, block), "status": status}
        text = block.text if over else ""
        if block.kind is Kind.CALL:
            name = {"name": block.name, "call_id": f"call_{block.number}"}
            return {**head, "type": "function_call", **name, "arguments": text}
        content = [_part(block.kind, text)] if over else []
        if block.kind is Kind.REASONING:
            return {**head, "type": "reasoning", "summary": [], "content": content}
        return {**head, "type": "message", "role": "assistant", "content": content}

    def _usage(self) -> dict[str, Any]:
        asked = self._asked
        thought = sum(len(b.tokens) for b in asked.blocks if b.kind is Kind.REASONING)
        return {
            "input_tokens": asked.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": asked.length,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": asked.prompt_tokens + asked.length,
        }

    def _event(self, kind: str, **more: object) -> bytes:
        self._sequence += 1
        return event({"type": kind, "sequence_number": self._sequence, **more}, kind)


def _part(kind: Kind, text: str) -> dict[str, Any]:
    if kind is Kind.REASONING:
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

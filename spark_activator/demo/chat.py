"""OpenAI's chat, completions and transcriptions: whole answers and chunks."""

from __future__ import annotations

from typing import Any

from spark_activator.demo.asked import Api, Asked, Block, Kind
from spark_activator.demo.shapes import DONE, around, dump, event, usage

_OBJECTS = {
    Api.CHAT: ("chatcmpl", "chat.completion", "chat.completion.chunk"),
    Api.COMPLETIONS: ("cmpl", "text_completion", "text_completion"),
    Api.SPEECH_TO_TEXT: ("trsc", "transcription", "transcription.chunk"),
}


class Chunks:
    """A `Writer` of these APIs."""

    def __init__(self, asked: Asked, *, number: str, created: int) -> None:
        self._asked = asked
        prefix, self._object, chunk = _OBJECTS[asked.api]
        self._frame = {
            "id": f"{prefix}-{number}",
            "object": chunk,
            "created": created,
            "model": asked.model,
        }
        self._block = asked.blocks[0]
        self._calls = 0
        self._before = self._after = b""

    def whole(self) -> bytes:
        """Write a whole answer."""
        asked = self._asked
        if asked.api is Api.SPEECH_TO_TEXT:
            seconds = asked.prompt_tokens
            told = {"type": "duration", "seconds": seconds}
            return dump({"text": asked.said(Kind.TEXT) or "", "usage": told})
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": asked.reason}
        if asked.api is Api.CHAT:
            choice["message"] = _message(asked)
        else:
            choice["text"] = asked.said(Kind.TEXT)
        frame = {**self._frame, "object": self._object}
        return dump({**frame, "choices": [choice], "usage": usage(asked)})

    def begin(self) -> list[bytes]:
        """Chat tells the role first."""
        if self._asked.api is not Api.CHAT:
            return []
        role = {"role": "assistant", "content": ""}
        return [self._event({"index": 0, "delta": role, "finish_reason": None})]

    def open(self, block: Block) -> list[bytes]:
        """A call tells its name first."""
        self._block = block
        events = []
        if block.kind is Kind.CALL:
            named = {
                "id": f"chatcmpl-tool-{block.number}",
                "type": "function",
                "index": self._calls,
                "function": {"name": block.name},
            }
            choice = self._choice("", None)
            choice["delta"] = {"tool_calls": [named]}
            events = [self._event(choice)]
        self._before, self._after = around(self._event(self._choice("\0", None)))
        return events

    def token(self, token: str, *, last: bool) -> bytes:
        """Write the event of one token; the last one says the reason."""
        if last:
            return self._event(self._choice(token, self._asked.reason))
        return self._before + dump(token) + self._after

    def close(self, block: Block) -> list[bytes]:
        """A block ends without a word."""
        self._calls += block.kind is Kind.CALL
        return []

    def end(self) -> list[bytes]:
        """Write the numbers, if they were asked, and OpenAI's mark of the end."""
        if not self._asked.include_usage:
            return [DONE]
        return [event({**self._frame, "choices": [], "usage": usage(self._asked)}), DONE]

    def _choice(self, token: str, reason: str | None) -> dict[str, Any]:
        said: dict[str, Any]
        if self._asked.api is Api.COMPLETIONS:
            said = {"text": token}
        elif self._block.kind is Kind.CALL:
            call = {"index": self._calls, "function": {"arguments": token}}
            said = {"delta": {"tool_calls": [call]}}
        else:
            key = "reasoning" if self._block.kind is Kind.REASONING else "content"
            said = {"delta": {key: token}}
        return {"index": 0, **said, "logprobs": None, "finish_reason": reason}

    def _event(self, choice: dict[str, Any]) -> bytes:
        return event({**self._frame, "choices": [choice]})


def _message(asked: Asked) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": asked.said(Kind.TEXT)}
    if thought := asked.said(Kind.REASONING):
        message["reasoning"] = thought
    if asked.calls:
        message["tool_calls"] = [
            {
                "id": f"chatcmpl-tool-{call.number}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.text},
            }
            for call in asked.calls
        ]
    return message

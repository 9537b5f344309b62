"""OpenAI's JSON: answers, chunks of a stream, models and errors."""

from __future__ import annotations

import json
from typing import Any

from spark_activator.demo.asked import Asked

# What `error.type` vLLM gives to a status; others are InternalServerError.
_ERROR_TYPES = {400: "BadRequestError", 404: "NotFoundError", 405: "MethodNotAllowedError"}

DONE = b"data: [DONE]\n\n"


def error(status: int, message: str) -> bytes:
    """Write an error as vLLM does, with the status as its code."""
    kind = _ERROR_TYPES.get(status, "InternalServerError")
    return _dump({"error": {"message": message, "type": kind, "param": None, "code": status}})


def models(names: tuple[str, ...], *, created: int, max_model_len: int | None) -> bytes:
    """Write the list of models: all are the same one."""
    return _dump(
        {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": created,
                    "owned_by": "spark-activator",
                    "root": names[0],
                    "parent": None,
                    "max_model_len": max_model_len,
                }
                for name in names
            ],
        }
    )


def answer(asked: Asked, *, number: str, created: int) -> bytes:
    """Write a whole answer."""
    said = "".join(asked.tokens)
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": asked.reason}
    if asked.chat:
        choice["message"] = {"role": "assistant", "content": said}
    else:
        choice["text"] = said
    body = _frame(asked, number=number, created=created, streamed=False)
    return _dump({**body, "choices": [choice], "usage": _usage(asked)})


class Chunks:
    """Writes the events of one stream.

    Only the token differs from event to event, so that the JSON around it is
    made once: the engine must cost little beside what is measured with it.
    """

    def __init__(self, asked: Asked, *, number: str, created: int) -> None:
        self._asked = asked
        self._frame = _frame(asked, number=number, created=created, streamed=True)
        # A token cannot contain this: JSON writes a control character in six.
        before, after = self._event(self._choice("\0", None)).split(rb'"\u0000"')
        self._before, self._after = before, after

    def first(self) -> bytes | None:
        """Return the event that comes before any token, if there is one."""
        if not self._asked.chat:
            return None
        role = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        return self._event(role)

    def token(self, index: int) -> bytes:
        """Return the event of token *index*; the last one says the reason."""
        token = self._asked.tokens[index]
        if index == len(self._asked.tokens) - 1:
            return self._event(self._choice(token, self._asked.reason))
        return self._before + _dump(token) + self._after

    def usage(self) -> bytes:
        """Return the event that ends a stream of which the numbers were asked."""
        return (
            b"data: "
            + _dump({**self._frame, "choices": [], "usage": _usage(self._asked)})
            + b"\n\n"
        )

    def _choice(self, token: str, reason: str | None) -> dict[str, Any]:
        said = {"delta": {"content": token}} if self._asked.chat else {"text": token}
        return {"index": 0, **said, "logprobs": None, "finish_reason": reason}

    def _event(self, choice: dict[str, Any]) -> bytes:
        return b"data: " + _dump({**self._frame, "choices": [choice]}) + b"\n\n"


def _frame(asked: Asked, *, number: str, created: int, streamed: bool) -> dict[str, Any]:
    kind = "chat.completion" if asked.chat else "text_completion"
    return {
        "id": f"{'chatcmpl' if asked.chat else 'cmpl'}-{number}",
        "object": f"{kind}.chunk" if asked.chat and streamed else kind,
        "created": created,
        "model": asked.model,
    }


def _usage(asked: Asked) -> dict[str, int]:
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": len(asked.tokens),
        "total_tokens": asked.prompt_tokens + len(asked.tokens),
    }


def _dump(body: dict[str, Any] | str) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

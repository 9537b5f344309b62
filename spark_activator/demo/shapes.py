"""The JSON that all answers share: errors, models, events of a stream."""

from __future__ import annotations

import json
from typing import Any, Protocol

from spark_activator.demo.asked import Api, Asked, Block

# What `error.type` vLLM gives to a status; others are InternalServerError.
_ERROR_TYPES = {400: "BadRequestError", 404: "NotFoundError", 405: "MethodNotAllowedError"}

DONE = b"data: [DONE]\n\n"


class Writer(Protocol):
    """Writes one answer in the words of one API: whole, or as events.

    Only the token differs from event to event within a block, so that the JSON
    around it is made once: the engine must cost little beside what is measured.
    """

    def whole(self) -> bytes:
        """Return the whole answer."""

    def begin(self) -> list[bytes]:
        """Return the events that come before anything."""

    def open(self, block: Block) -> list[bytes]:
        """Return the events that begin *block*; `token` is for this one from now on."""

    def token(self, token: str, *, last: bool) -> bytes:
        """Return the event of one token; the *last* one of the whole answer may say so."""

    def close(self, block: Block) -> list[bytes]:
        """Return the events that end *block*."""

    def end(self) -> list[bytes]:
        """Return the events that end the stream."""


def error(status: int, message: str, api: Api | None = None) -> bytes:
    """Write an error as vLLM does: with the status as its code, or in Anthropic's shape."""
    kind = _ERROR_TYPES.get(status, "InternalServerError")
    if api is Api.MESSAGES:
        return dump({"type": "error", "error": {"type": kind, "message": message}})
    return dump({"error": {"message": message, "type": kind, "param": None, "code": status}})


def models(names: tuple[str, ...], *, created: int, max_model_len: int | None) -> bytes:
    """Write the list of models: all are the same one."""
    return dump(
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


def usage(asked: Asked) -> dict[str, int]:
    """Return the numbers as OpenAI's chat has them."""
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": asked.length,
        "total_tokens": asked.prompt_tokens + asked.length,
    }


def event(body: dict[str, Any], name: str | None = None) -> bytes:
    """Write one event of a stream; Anthropic's and those of responses have names."""
    named = b"" if name is None else b"event: %s\n" % name.encode()
    return named + b"data: " + dump(body) + b"\n\n"


def around(token_event: bytes) -> tuple[bytes, bytes]:
    r"""Return what stands before and after the token "\0" in *token_event*."""
    # A token cannot contain this: JSON writes a control character in six.
    before, after = token_event.split(rb'"\u0000"')
    return before, after


def dump(body: dict[str, Any] | str) -> bytes:
    """Write compact JSON; half a surrogate pair becomes a question mark."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

"""Streams that are opened before their answer is there: signs of life, and failures.

What counts as life is decided by the client's parser and its timers:

* chat and completions: an SSE comment.  Parsers skip it, and timers see bytes.
* messages: `event: ping`, which is of that API.
* responses: a typed event, `keepalive`, since Codex' timer counts parsed events
  alone.  OpenAI's own SDKs get a comment: their timers see bytes, and their
  helpers break at any event before `response.created`.

A failure has the shape that the API's own streams give it, since SDKs raise that,
with the status in it that an answer of its own would have had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spark_activator.errors import Refusal
from spark_activator.http.answers import CHANGED, REQUEST_ID
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.head import Head

LAST_CHUNK: Final = b"0\r\n\r\n"
# What OpenAI's SDKs (made by Stainless) say about themselves.
_SDK: Final = b"x-stainless-lang"
# Of an engine's error that is no JSON.
_QUOTED: Final = 500
# Anthropic's names; what is not here is an `api_error`.
_ANTHROPIC: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error event says; *code* is ours or the engine's, *retry_after* seconds."""

    status: int
    message: str
    type: str
    code: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """How one client is talked to in its stream.

    Attributes:
        endpoint: One of `endpoints.STREAMED`.
        model: The model's name.
        request_id: As in `X-Spark-Request-Id`.
        created: When it asked, in seconds of Unix time.
        chunked: Whether the stream is framed by chunks, else by the connection's end.
        typed: Whether signs of life are events where the endpoint has a choice.
        aloud: Whether the load is told as reasoning content, in chats.
        changed: The rules of the policy that changed the request.
    """

    endpoint: Endpoint
    model: str
    request_id: str
    created: int
    chunked: bool = True
    typed: bool = True
    aloud: bool = False
    changed: tuple[str, ...] = ()

    def frame(self, data: bytes) -> bytes:
        """Frame *data*, which is not empty."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data

    @property
    def last(self) -> bytes:
        """What ends the stream, before its connection does."""
        return LAST_CHUNK if self.chunked else b""

    def head(self) -> bytes:
        """Write the head of the answer."""
        fields = {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            # Proxies on the way that would collect our signs of life.
            "X-Accel-Buffering": "no",
        }
        if self.chunked:
            fields["Transfer-Encoding"] = "chunked"
        if self.changed:
            fields[CHANGED] = ", ".join(self.changed)
        fields |= {REQUEST_ID: self.request_id, "Connection": "close"}
        lines = [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("ascii")

    def sign(self, text: str, *, changed: bool) -> bytes:
        """Write a sign of life that says *text*; *changed*: the last one said something else."""
        text = " ".join(text.split())
        comment = f": {text}\n"
        if self.endpoint is Endpoint.MESSAGES:
            return comment.encode() + _event({"type": "ping"}, "ping")
        if self.endpoint is Endpoint.RESPONSES and self.typed:
            # Always 0: what the engine counts from there on stays in order.
            return _event({"type": "keepalive", "sequence_number": 0, "state": text}, "keepalive")
        if self.endpoint is Endpoint.CHAT and self.aloud and changed:
            return _event(self._spoken(text))
        return comment.encode() + b"\n"

    def failure(self, failure: Failure) -> bytes:
        """Write the event, or events, that end a stream which failed."""
        error: dict[str, Any] = {
            "message": failure.message,
            "type": failure.type,
            "param": None,
            "code": failure.code,
            "status": failure.status,
        }
        if failure.retry_after is not None:
            error["retry_after"] = failure.retry_after
        match self.endpoint:
            case Endpoint.MESSAGES:
                error["type"] = _ANTHROPIC.get(failure.status, "api_error")
                told = {"type": "error", "error": error, "request_id": self.request_id}
                return _event(told, "error")
            case Endpoint.RESPONSES:
                return self._failed_response(failure, error)
        return _event({"error": error})

    def _spoken(self, text: str) -> dict[str, Any]:
        # No role: helpers add up what deltas say, and the engine's first one says it.
        delta = {"reasoning_content": f"{text}\n"}
        return {
            "id": f"chatcmpl-{self.request_id}",
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
        }

    def _failed_response(self, failure: Failure, error: dict[str, Any]) -> bytes:
        # SDKs raise the first (for its `error`), Codex knows the second alone.
        code = failure.code or failure.type
        plain = {"code": code, "message": failure.message}
        told = {"type": "error", "sequence_number": 0, **plain, "param": None, "error": error}
        response = {
            "id": f"resp_{self.request_id}",
            "object": "response",
            "created_at": self.created,
            "model": self.model,
            "status": "failed",
            "error": plain,
            "incomplete_details": None,
            "output": [],
        }
        failed = {"type": "response.failed", "sequence_number": 1, "response": response}
        return _event(told, "error") + _event(failed, "response.failed")


def voice_of(
    head: Head,
    endpoint: Endpoint,
    *,
    model: str,
    request_id: str,
    created: int,
    aloud: bool,
    changed: Sequence[str] = (),
) -> Voice:
    """Choose how the client that sent *head* is talked to; the rest as in `Voice`."""
    return Voice(
        endpoint,
        model,
        request_id,
        created,
        # HTTP/1.0 has no chunks.
        chunked=head.minor > 0,
        typed=all(name != _SDK for name, _ in head.fields),
        aloud=aloud,
        changed=tuple(changed),
    )


def refused(refusal: Refusal) -> Failure:
    """Say what *refusal* says."""
    kind = refusal.kind
    return Failure(kind.status, refusal.message, kind.type, refusal.code, refusal.retry_after)


def engine_failed(status: int, body: bytes) -> Failure:
    """Say what an engine said with *status*; *body* may be cut short, or no JSON."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    error = said.get("error", said) if isinstance(said, dict) else {}
    if not isinstance(error, Mapping):
        error = {"message": error}
    message = error.get("message", error.get("detail"))
    if not isinstance(message, str) or not message:
        quoted = " ".join(body[:_QUOTED].decode(errors="replace").split())
        message = f"the engine answered {status}: {quoted or 'nothing'}"
    type_, code = error.get("type"), error.get("code")
    fallback = "server_error" if status >= 500 else "invalid_request_error"
    return Failure(
        status,
        message,
        type_ if isinstance(type_, str) and type_ else fallback,
        None if code is None else str(code),
    )


def _event(data: Mapping[str, Any], name: str = "") -> bytes:
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()

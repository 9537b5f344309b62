"""Answers of our own: values in, bytes out.

Every answer says `Connection: close`, because one connection carries one
request, and names the request, so that a person can find it in the journal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from spark_activator.errors import Refusal

REQUEST_ID = "X-Spark-Request-Id"
# The rules of the request policy that changed something.
CHANGED = "X-Spark-Changed"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    417: "Expectation Failed",
    423: "Locked",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


def refusal_answer(
    refusal: Refusal, request_id: str, *, head_only: bool = False, changed: Sequence[str] = ()
) -> bytes:
    """Write *refusal* in OpenAI's shape, of a request that the rules *changed* have changed."""
    headers = dict(refusal.headers)
    if changed:
        headers[CHANGED] = ", ".join(changed)
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    error = {
        "message": refusal.message,
        "type": refusal.kind.type,
        "param": None,
        "code": refusal.code,
    }
    return json_answer(
        {"error": error},
        request_id,
        status=refusal.kind.status,
        headers=headers,
        head_only=head_only,
    )


def json_answer(
    body: Any,  # noqa: ANN401  # whatever JSON can say
    request_id: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    head_only: bool = False,
) -> bytes:
    """Write *body* as JSON; *head_only* is for HEAD, which gets no body."""
    return _answer(
        status,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **(headers or {}), REQUEST_ID: request_id},
        head_only=head_only,
    )


def text_answer(text: str, request_id: str, *, content_type: str, head_only: bool = False) -> bytes:
    """Write *text*."""
    return _answer(
        200,
        text.encode(),
        {"Content-Type": content_type, REQUEST_ID: request_id},
        head_only=head_only,
    )


def empty_answer(request_id: str, headers: Mapping[str, str]) -> bytes:
    """Write an answer that is all head: 204."""
    lines = ["HTTP/1.1 204 No Content"]
    lines += [f"{name}: {value}" for name, value in {**headers, REQUEST_ID: request_id}.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def with_fields(answer: bytes, fields: Mapping[str, str]) -> bytes:
    """Add *fields* to the head that *answer* begins with."""
    if not fields:
        return answer
    head, end, rest = answer.partition(b"\r\n\r\n")
    lines = [f"{name}: {value}".encode("latin-1") for name, value in fields.items()]
    return b"\r\n".join([head, *lines]) + end + rest


def _answer(status: int, body: bytes, headers: Mapping[str, str], *, head_only: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + (b"" if head_only else body)

"""One request for a chat, streamed: what `spark-model chat` sends and reads."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spark_activator.errors import UserError

# Longer than any event of a stream; what is not an event must not fill the memory.
MAX_EVENT = 1 << 20
# Of an error's body, which is a sentence.
MAX_ERROR = 1 << 16


class KeyNeeded(UserError):
    """The server wants an API key, or another one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask: on this machine, below *prefix*."""

    port: int
    prefix: str = "/v1"
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event brought.

    Attributes:
        text: Of the answer.
        reasoning: Of what the model thinks before it.
        finish: Why the answer ended, once it has.
        tokens: Of question and answer together, where the server says.
    """

    text: str = ""
    reasoning: str = ""
    finish: str = ""
    tokens: int | None = None


def stream(
    place: Place,
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    key: str | None,
    timeout: float,
) -> Generator[Piece, None, None]:
    """Ask, and yield the answer as it comes; closing the iterator ends the request.

    Raises:
        KeyNeeded: It takes an API key.
        UserError: It is refused, or breaks off.
    """
    body = {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection(place.host, place.port, timeout=timeout)
    try:
        path = f"{place.prefix}/chat/completions"
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise _refused(answer.status, answer.read(MAX_ERROR))
        yield from _pieces(answer)
    except ConnectionRefusedError as error:
        raise UserError(
            f"nothing listens on port {place.port}",
            hint=f"is it switched on? sudo spark-model enable {model}",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        words = str(error) or type(error).__name__
        raise UserError(
            f"the answer broke off: {words}", hint=f"see: spark-model logs {model}"
        ) from error
    finally:
        connection.close()


def _pieces(answer: http.client.HTTPResponse) -> Iterator[Piece]:
    while line := answer.readline(MAX_EVENT):
        # Comments and names of events only keep the connection alive.
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        try:
            event = json.loads(data)
        except ValueError as error:
            raise UserError("the server sent an event that is no JSON") from error
        if isinstance(event, dict):
            yield _piece(event)
    raise UserError("the answer broke off before its end")


def _piece(event: dict[str, Any]) -> Piece:
    if isinstance(event.get("error"), dict):
        raise UserError(_sentence(event["error"]))
    usage = event.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return Piece(
        text=delta.get("content") or "",
        # vLLM has called it by both names.
        reasoning=delta.get("reasoning_content") or delta.get("reasoning") or "",
        finish=choices[0].get("finish_reason") or "",
        tokens=tokens if isinstance(tokens, int) else None,
    )


def _refused(status: int, body: bytes) -> UserError:
    try:
        error = json.loads(body)["error"]
        words = _sentence(error)
    except (ValueError, KeyError, TypeError, AttributeError):
        words = f"the server answered with status {status}"
    if status == http.client.UNAUTHORIZED:
        return KeyNeeded(words, hint="give the key with --key-file FILE")
    return UserError(words)


def _sentence(error: dict[str, Any]) -> str:
    # One line, whatever a server writes.
    words = " ".join(str(error.get("message") or "the server failed").split())
    code = error.get("code")
    return f"{words} [{code}]" if isinstance(code, str) else words

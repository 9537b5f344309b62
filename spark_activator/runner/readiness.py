"""Whether an engine can generate: it answers, it is the right one, it makes a token.

`/health` alone says little: engines answer it while they are dead or serve
another model.  So the three questions are asked in this order, each over a
connection of its own.  An engine that has no tokens to make is asked for what
its kind of model gives: numbers, or words for a second of silence.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import h11
import trio

from spark_activator.catalog.model import Model
from spark_activator.errors import EngineFailed
from spark_activator.runner import upstream

logger = logging.getLogger(__name__)

# Trying a socket that refuses costs 30 µs; this is what a start can be late by.
REFUSED_POLL = 0.05
# An engine that answers "not yet" is asked less often: that is work for it.
UNHEALTHY_POLL = 0.25
# /health and /v1/models are answered from memory; an engine that compiles may
# keep its loop busy for a while.
ANSWER_LIMIT = 10.0
JSON: Final = "application/json"
# Of a form that holds a name and silence.
_BOUNDARY: Final = "spark-silence"
# Of an answer that says something unexpected, this much is kept.
MAX_BODY = 1 << 20


class NoAnswer(Exception):
    """Nobody listens, or what answers is no HTTP."""


async def wait_healthy(parent: Path, activation: str) -> None:
    """Return when `/health` says 200; the caller sets the deadline."""
    while True:
        try:
            with trio.fail_after(ANSWER_LIMIT):
                status, _ = await ask(parent, activation, "GET", "/health")
            if status == 200:
                return
            await trio.sleep(UNHEALTHY_POLL)
        except (NoAnswer, trio.TooSlowError):
            await trio.sleep(REFUSED_POLL)


async def check_model(parent: Path, activation: str, model: Model) -> None:
    """Return when the engine serves *model* under its name.

    Raises:
        EngineFailed: It serves something else, or does not say.
    """
    try:
        with trio.fail_after(ANSWER_LIMIT):
            status, body = await ask(parent, activation, "GET", "/v1/models")
        served = [entry["id"] for entry in json.loads(body)["data"]]
    except (NoAnswer, trio.TooSlowError, ValueError, LookupError, TypeError) as error:
        logger.error("The engine does not list its models: %r", error)
        raise EngineFailed("start_failed", "the engine does not list its models") from error
    if status != 200 or model.name not in served:
        raise EngineFailed("start_failed", f"the engine serves {served}, not '{model.name}'")


async def generate_token(parent: Path, activation: str, model: Model) -> None:
    """Return when the engine has answered one request of its kind; the caller sets the deadline.

    Raises:
        EngineFailed: It answered them all with anything else.
    """
    for path, kind, body in _first_requests(model.name):
        try:
            status, answer = await ask(parent, activation, "POST", path, body, kind)
        except NoAnswer as error:
            logger.error("The engine did not answer its first request: %s", error)
            raise _cannot_generate(model) from error
        if status == 200:
            return
        logger.warning("%s was answered with %d: %s", path, status, answer[:300])
        if status >= 500:
            break
    raise _cannot_generate(model)


def _first_requests(name: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield requests until one suits the model: path, content type and body."""
    common: dict[str, Any] = {"model": name, "max_tokens": 1, "temperature": 0}
    # Chat is what clients use; a base model without a chat template refuses it
    # with a 4xx and can only complete.  Models that embed, rank or listen have
    # neither: then these paths are not there.
    for path, body in (
        ("chat/completions", {**common, "messages": [{"role": "user", "content": "1"}]}),
        ("completions", {**common, "prompt": "1"}),
        ("embeddings", {"model": name, "input": "1"}),
        ("score", {"model": name, "text_1": "1", "text_2": "1"}),
    ):
        yield f"/v1/{path}", JSON, json.dumps(body).encode()
    fields = {"model": name, "language": "en", "max_completion_tokens": "1"}
    form = b"".join(_field(f'name="{key}"', value.encode()) for key, value in fields.items())
    form += _field('name="file"; filename="silence.wav"', _silence())
    kind = f"multipart/form-data; boundary={_BOUNDARY}"
    yield "/v1/audio/transcriptions", kind, form + f"--{_BOUNDARY}--\r\n".encode()


def _field(name: str, value: bytes) -> bytes:
    head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {name}\r\n\r\n"
    return head.encode() + value + b"\r\n"


def _silence() -> bytes:
    """A second of it, with 16-bit samples of 16 kHz as such models want them."""
    rate, size = 16000, 32000
    head = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, rate, size, 2, 16, b"data", size)
    return b"RIFF" + struct.pack("<I", 4 + len(head) + size) + b"WAVE" + head + bytes(size)


def _cannot_generate(model: Model) -> EngineFailed:
    name = model.name
    return EngineFailed(
        "start_failed", f"the engine of '{name}' cannot generate (see: spark-model logs {name})"
    )


async def ask(
    parent: Path, activation: str, method: str, path: str, body: bytes = b"", kind: str = JSON
) -> tuple[int, bytes]:
    """Send one request to the engine and return status and body.

    Raises:
        NoAnswer: Nobody listens, or the answer is no HTTP.
    """
    try:
        stream = await upstream.connect(parent, activation)
    except OSError as error:
        raise NoAnswer(str(error)) from error
    try:
        return await _exchange(stream, method, path, body, kind)
    except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
        raise NoAnswer(str(error)) from error
    finally:
        await trio.aclose_forcefully(stream)


async def _exchange(
    stream: trio.SocketStream, method: str, path: str, body: bytes, kind: str
) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT)
    headers = [
        ("Host", "localhost"),
        ("Connection", "close"),
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
    ]
    sent = connection.send(h11.Request(method=method, target=path, headers=headers)) or b""
    sent += connection.send(h11.Data(data=body)) or b""
    sent += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(sent)
    status, answer = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            answer += event.data
            if len(answer) > MAX_BODY:
                raise NoAnswer("the answer is too long")
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(answer)
        elif isinstance(event, h11.ConnectionClosed):
            raise NoAnswer("the engine closed the connection")

"""Whether an engine can generate: it answers, it is the right one, it makes a token.

`/health` alone says little: engines answer it while they are dead or serve
another model.  So the three questions are asked in this order, each over a
connection of its own.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

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
    """Return when the engine has generated one token; the caller sets the deadline.

    Raises:
        EngineFailed: It answered with anything else.
    """
    common: dict[str, Any] = {"model": model.name, "max_tokens": 1, "temperature": 0}
    chat = {**common, "messages": [{"role": "user", "content": "1"}]}
    # Chat is what clients use; a base model without a chat template refuses it
    # with a 4xx and can only complete.
    for path, body in (
        ("/v1/chat/completions", chat),
        ("/v1/completions", {**common, "prompt": "1"}),
    ):
        try:
            status, answer = await ask(parent, activation, "POST", path, json.dumps(body).encode())
        except NoAnswer as error:
            logger.error("The engine did not answer its first request: %s", error)
            raise _cannot_generate(model) from error
        if status == 200:
            return
        logger.warning("%s was answered with %d: %s", path, status, answer[:300])
        if status >= 500:
            break
    raise _cannot_generate(model)


def _cannot_generate(model: Model) -> EngineFailed:
    name = model.name
    return EngineFailed(
        "start_failed", f"the engine of '{name}' cannot generate (see: spark-model logs {name})"
    )


async def ask(
    parent: Path, activation: str, method: str, path: str, body: bytes = b""
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
        return await _exchange(stream, method, path, body)
    except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
        raise NoAnswer(str(error)) from error
    finally:
        await trio.aclose_forcefully(stream)


async def _exchange(
    stream: trio.SocketStream, method: str, path: str, body: bytes
) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT)
    headers = [
        ("Host", "localhost"),
        ("Connection", "close"),
        ("Content-Type", "application/json"),
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

"""The loaded engine: its routes."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Awaitable, Callable

import trio

from spark_activator.demo import audio, pooling, prompts, reading, shapes, text
from spark_activator.demo.asked import Api, Asked, BadRequest, model_of, object_of
from spark_activator.demo.connection import ClientGone, Connection, CutShort, Request
from spark_activator.demo.generation import Generation, writer_of
from spark_activator.demo.kept import Responses
from spark_activator.demo.log import say
from spark_activator.demo.metrics import Metrics
from spark_activator.demo.realtime import Session
from spark_activator.demo.responses import Events
from spark_activator.demo.settings import Settings
from spark_activator.demo.websocket import WebSocket, accept_key

_GENERATING = {f"/v1/{path}": api for path, api in (
    ("chat/completions", Api.CHAT),
    ("completions", Api.COMPLETIONS),
    ("messages", Api.MESSAGES),
    ("responses", Api.RESPONSES),
)}  # fmt: skip
_POOLING = {
    "/v1/embeddings": pooling.embeddings,
    "/v1/rerank": pooling.ranking,
    "/v1/score": pooling.scores,
}
_LOOKING = ("/health", "/ping", "/v1/models", "/metrics", "/version", "/load")
_RESPONSE = re.compile(r"/v1/responses/([^/]+)(/cancel)?")

REALTIME = "/v1/realtime"

_Handler = Callable[[Connection, Request], Awaitable[None]]


class Engine:
    """What is served, on however many connections.

    Args:
        settings: The command line.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self._generation = Generation(settings, self.metrics)
        self._responses = Responses(self._generation)
        # What was asked for in the background runs here; the server sets it.
        self.background: trio.Nursery | None = None
        self._started = trio.current_time()
        self._created = int(time.time())
        self._handlers = self._choose_handlers(settings.serves)

    def _choose_handlers(self, serves: str) -> dict[str, tuple[str, _Handler]]:
        kinds: dict[str, dict[str, tuple[str, _Handler]]] = {
            "text": {
                **dict.fromkeys(_GENERATING, ("POST", self._generate)),
                "/v1/messages/count_tokens": ("POST", self._count),
            },
            "pooling": dict.fromkeys(_POOLING, ("POST", self._pool)),
            "audio": {
                "/v1/audio/transcriptions": ("POST", self._transcribe),
                "/v1/audio/translations": ("POST", self._transcribe),
                "/v1/audio/speech": ("POST", self._speak),
            },
        }
        chosen = [kinds[serves]] if serves in kinds else list(kinds.values())
        handlers = {path: handler for kind in chosen for path, handler in kind.items()}
        look = dict.fromkeys(_LOOKING, ("GET", self._look))
        return {**handlers, **look, "/tokenize": ("POST", self._tokenize)}

    async def respond(self, client: Connection, request: Request) -> None:
        """Answer *request*, whatever it is.

        Raises:
            ClientGone: Nobody is there to be answered.
            CutShort: The answer is to stay as it is.
        """
        api = Api.MESSAGES if request.path.startswith("/v1/messages") else None
        try:
            await self._route(client, request)
        except BadRequest as error:
            await client.answer(error.status, shapes.error(error.status, error.message, api))
        except (ClientGone, CutShort):
            raise
        except Exception as error:  # as in uvicorn a bug ends one answer, not the engine
            say("".join(traceback.format_exception(error)).rstrip())
            if client.answered:
                raise CutShort from error
            await client.answer(500, shapes.error(500, "Internal Server Error", api))

    async def _route(self, client: Connection, request: Request) -> None:
        if (found := _RESPONSE.fullmatch(request.path)) is not None:
            await self._respond_to_kept(client, request, found[1], cancel=bool(found[2]))
            return
        if request.path not in self._handlers:
            raise BadRequest(f"Not Found: {request.method} {request.path}", status=404)
        method, handler = self._handlers[request.path]
        _expect(method, request)
        await handler(client, request)

    async def converse(self, client: Connection, request: Request) -> None:
        """Answer a request for a WebSocket, to the end of the connection.

        Raises:
            ClientGone: Nobody is there any more.
        """
        key = request.headers.get("sec-websocket-key")
        if request.path != REALTIME or request.method != "GET" or key is None:
            await client.answer(403, b"", "text/plain")
            return
        early = await client.switch([("sec-websocket-accept", accept_key(key))])
        socket = WebSocket(client.receive, client.send_raw, early)
        await Session(socket, self._settings, self._generation).run()

    async def _generate(self, client: Connection, request: Request) -> None:
        asked = reading.read(request.body, self._settings, _GENERATING[request.path])
        if asked.api is Api.RESPONSES and asked.body.get("background") is True:
            await self._begin(client, asked)
            return
        writer = writer_of(asked)
        await self._generation.answer(client, asked, writer)
        if isinstance(writer, Events) and asked.body.get("store") is not False:
            self._responses.keep(writer)

    async def _begin(self, client: Connection, asked: Asked) -> None:
        writer = writer_of(asked)
        assert isinstance(writer, Events)
        assert self.background is not None
        if asked.stream:
            raise BadRequest("background: this engine does not stream it")
        await self._responses.begin(client, asked, writer, self.background)

    async def _respond_to_kept(
        self, client: Connection, request: Request, name: str, *, cancel: bool
    ) -> None:
        _expect("POST" if cancel else "GET", request)
        act = self._responses.cancel if cancel else self._responses.look
        await act(client, name)

    async def _pool(self, client: Connection, request: Request) -> None:
        async with self._generation.turn() as turn:
            await client.answer(200, _POOLING[request.path](request.body, self._settings))
            turn.ended = "stop"

    async def _transcribe(self, client: Connection, request: Request) -> None:
        kind = request.headers.get("content-type", "")
        asked = audio.read(request.body, kind, self._settings)
        await self._generation.answer(client, asked, writer_of(asked))

    async def _speak(self, client: Connection, request: Request) -> None:
        async with self._generation.turn() as turn:
            await client.answer(200, audio.speech(request.body, self._settings), "audio/wav")
            turn.ended = "stop"

    async def _tokenize(self, client: Connection, request: Request) -> None:
        body = object_of(request.body)
        model_of(body.get("model"), self._settings)
        api = Api.CHAT if "messages" in body else Api.COMPLETIONS
        words = [word for part in prompts.read(body, api).parts for word in part.split()]
        told = {
            "count": len(words),
            "max_model_len": self._settings.max_model_len or 0,
            "tokens": [text.token_number(word) for word in words],
            "token_strs": words if body.get("return_token_strs") is True else None,
        }
        await client.answer(200, shapes.dump(told))

    async def _count(self, client: Connection, request: Request) -> None:
        body = object_of(request.body)
        model_of(body.get("model"), self._settings)
        count = prompts.read(body, Api.MESSAGES).length
        told = {"input_tokens": count, "context_management": {"original_input_tokens": count}}
        await client.answer(200, shapes.dump(told))

    async def _look(self, client: Connection, request: Request) -> None:
        settings, path = self._settings, request.path
        if path == "/health":
            late = trio.current_time() < self._started + settings.faults.health_delay
            await client.answer(503 if late else 200, b"", "text/plain")
        elif path == "/ping":
            await client.answer(200, b"", "text/plain")
        elif path == "/metrics":
            shown = self.metrics.render(settings.names[0]).encode()
            await client.answer(200, shown, "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/version":
            await client.answer(200, b'{"version":"demo"}')
        elif path == "/load":
            await client.answer(200, b'{"server_load":%d}' % self.metrics.running)
        else:
            limit = settings.max_model_len
            await client.answer(
                200, shapes.models(settings.names, created=self._created, max_model_len=limit)
            )


def _expect(method: str, request: Request) -> None:
    if request.method != method:
        raise BadRequest(f"Method Not Allowed: {request.method}", status=405)

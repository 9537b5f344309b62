"""Speech to text while it is spoken: vLLM's events over a WebSocket.

The client names the model (`session.update`), says that it is about to speak
(`input_audio_buffer.commit`), sends sound (`…append`), and says that this was
all (`commit` with `final`).  What is said depends on every byte of the sound.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any

from spark_activator.demo import text
from spark_activator.demo.asked import Api, Asked, BadRequest, Block, Kind, model_of
from spark_activator.demo.generation import Generation
from spark_activator.demo.settings import Settings
from spark_activator.demo.shapes import dump, usage
from spark_activator.demo.websocket import Closed, WebSocket


class Session:
    """One WebSocket, from its opening to its end."""

    def __init__(self, socket: WebSocket, settings: Settings, generation: Generation) -> None:
        self._socket = socket
        self._settings = settings
        self._generation = generation
        self._model: str | None = None
        self._sound = bytearray()
        self._speaking = False

    async def run(self) -> None:
        """Serve until the client leaves."""
        created = int(time.time())
        await self._say("session.created", id=f"sess-{secrets.token_hex(16)}", created=created)
        while True:
            try:
                event = json.loads(await self._socket.read())
            except Closed:
                return
            except ValueError:
                await self._complain("Invalid JSON", "invalid_json")
                continue
            await self._hear(event if isinstance(event, dict) else {})

    async def _hear(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "session.update":
            await self._update(event.get("model"))
        elif kind == "input_audio_buffer.append":
            try:
                self._sound += base64.b64decode(str(event.get("audio")), validate=True)
            except ValueError:
                await self._complain("Invalid audio data", "invalid_audio")
        elif kind != "input_audio_buffer.commit":
            await self._complain(f"Unknown event type: {kind}", "unknown_event")
        elif self._model is None:
            await self._complain("the model is named by session.update", "model_not_validated")
        elif event.get("final") is not True:
            self._speaking = True
        elif self._speaking:
            try:
                await self._answer(self._model)
            except BadRequest as error:
                await self._complain(error.message, "processing_error")

    async def _update(self, model: object) -> None:
        if model is None:
            await self._complain("Missing required field: model", "invalid_event")
            return
        try:
            self._model = model_of(model, self._settings)
        except BadRequest as error:
            await self._complain(error.message, "model_not_found")

    async def _answer(self, model: str) -> None:
        heard = hashlib.sha256(self._sound).hexdigest()
        tokens, reason = text.answer_tokens(
            "story", heard, length=self._settings.max_tokens, limit=None, endless=False
        )
        block = Block(Kind.TEXT, tokens)
        asked = Asked(Api.SPEECH_TO_TEXT, model, (block,), reason, 1, stream=True)
        async with self._generation.turn() as turn:
            pace = self._generation.pace(asked, turn)
            for token in tokens:
                await pace.next()
                await self._say("transcription.delta", delta=token)
            await self._say("transcription.done", text=block.text, usage=usage(asked))
            turn.ended = "stop"
        self._sound.clear()
        self._speaking = False

    async def _complain(self, message: str, code: str) -> None:
        await self._say("error", error=message, code=code)

    async def _say(self, kind: str, **more: object) -> None:
        await self._socket.write(dump({"type": kind, **more}))

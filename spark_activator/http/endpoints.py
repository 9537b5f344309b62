"""What a request asks the engine for: an endpoint for each path of the API."""

from __future__ import annotations

from enum import StrEnum


class Endpoint(StrEnum):
    """The part of the API that a path belongs to."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    SCORE = "score"
    SPEECH = "speech"
    TRANSCRIPTIONS = "transcriptions"  # multipart, as TRANSLATIONS
    TRANSLATIONS = "translations"
    RESPONSE = "response"  # one that an engine keeps: by id, and its cancellation
    REALTIME = "realtime"  # a WebSocket


_PATHS: dict[str, Endpoint] = {
    "/v1/chat/completions": Endpoint.CHAT,
    "/v1/completions": Endpoint.COMPLETIONS,
    "/v1/responses": Endpoint.RESPONSES,
    "/v1/messages": Endpoint.MESSAGES,
    "/v1/messages/count_tokens": Endpoint.COUNT_TOKENS,
    "/v1/embeddings": Endpoint.EMBEDDINGS,
    "/v1/rerank": Endpoint.RERANK,
    "/v1/score": Endpoint.SCORE,
    "/v1/audio/speech": Endpoint.SPEECH,
    "/v1/audio/transcriptions": Endpoint.TRANSCRIPTIONS,
    "/v1/audio/translations": Endpoint.TRANSLATIONS,
    "/v1/realtime": Endpoint.REALTIME,
}

# Their bodies are JSON objects; all others have none, or forms.
JSON_BODIES = frozenset(
    {
        Endpoint.CHAT,
        Endpoint.COMPLETIONS,
        Endpoint.RESPONSES,
        Endpoint.MESSAGES,
        Endpoint.COUNT_TOKENS,
        Endpoint.EMBEDDINGS,
        Endpoint.RERANK,
        Endpoint.SCORE,
        Endpoint.SPEECH,
    }
)
# Their answers may be streams of events.
STREAMED = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES})


def endpoint(path: str) -> Endpoint:
    """Say what the engine is asked for by *path*, which `paths.route` has allowed."""
    return _PATHS.get(path, Endpoint.RESPONSE)

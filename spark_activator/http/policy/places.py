"""Where requests of each endpoint keep what the rules look for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.strict import Fields

_WORDS_FOR_TRUE = ("1", "true", "t", "yes", "y", "on")


@dataclass(frozen=True, slots=True)
class Chat:
    """How an endpoint spells a conversation.

    Attributes:
        messages: The field with the messages.
        system: The field with the system text, besides messages of that role.
        text: The type of a part that is text.
        limits: Fields with the longest answer, the one that counts first.
    """

    messages: str
    system: str | None
    text: str
    limits: tuple[str, ...]


CHATS: Final = {
    Endpoint.CHAT: Chat("messages", None, "text", ("max_completion_tokens", "max_tokens")),
    Endpoint.RESPONSES: Chat("input", "instructions", "input_text", ("max_output_tokens",)),
    Endpoint.MESSAGES: Chat("messages", "system", "text", ("max_tokens",)),
    Endpoint.COUNT_TOKENS: Chat("messages", "system", "text", ()),
}

# Fields with content that an engine looks into for pictures; the rest are texts.
_CONTENT = (
    "messages", "input", "system", "query", "documents",
    "queries", "items", "data_1", "data_2", "text_1", "text_2",
)  # fmt: skip
# Where content has more content: results of tools, documents.  The arguments of a
# tool (`input`) are not among them: an address there is for the tool.
_NESTED = ("content", "output", "source")
_CONTAINERS = (dict, list)


def contents(fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find every object of the content of *fields*, messages and their parts, with its path."""
    found: list[tuple[str, Any]] = [(key, fields[key]) for key in _CONTENT if key in fields]
    while found:
        path, value = found.pop()
        if isinstance(value, list):
            found += [
                (f"{path}[{n}]", item)
                for n, item in enumerate(value)
                if isinstance(item, _CONTAINERS)
            ]
        elif isinstance(value, dict):
            yield path, value
            found += [
                (f"{path}.{key}", value[key])
                for key in _NESTED
                if isinstance(value.get(key), _CONTAINERS)
            ]


def asks_for_stream(fields: Fields) -> bool:
    """Whether an engine would stream: pydantic takes more than `true` for it."""
    stream = fields.get("stream")
    if isinstance(stream, str):
        return stream.lower() in _WORDS_FOR_TRUE
    return isinstance(stream, int | float) and stream == 1

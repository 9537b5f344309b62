"""What was asked, and what is going to be said: the values between a body and its answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from spark_activator.demo import faults
from spark_activator.demo.settings import Settings


class BadRequest(Exception):
    """The request cannot be served.

    Attributes:
        status: The HTTP status.
        message: What was expected.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Api(StrEnum):
    """In whose words an answer is generated."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    SPEECH_TO_TEXT = "speech_to_text"


class Kind(Enum):
    """What a block of an answer is."""

    REASONING = "reasoning"
    TEXT = "text"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an answer.

    Attributes:
        kind: What it is.
        tokens: Of its text; of a call its arguments, as JSON.
        name: The tool that is called.
        number: Hex digits that make its identifier.
    """

    kind: Kind
    tokens: list[str]
    name: str = ""
    number: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer to give.

    Attributes:
        api: In whose words.
        model: The name under which the client knows us.
        blocks: What will be said, in this order; at least one.
        reason: Why there is no more of it, `stop`, `length` or `tool_calls`.
        prompt_tokens: How long the prompt was.
        stream: Send each token as it comes.
        include_usage: End a stream with the numbers.
        fault: What goes wrong on the way, or None.
        body: The request, for answers that repeat some of it.
    """

    api: Api
    model: str
    blocks: tuple[Block, ...]
    reason: str
    prompt_tokens: int
    stream: bool
    include_usage: bool = False
    fault: faults.Directive | None = None
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """The number of tokens of the answer."""
        return sum(len(block.tokens) for block in self.blocks)

    def said(self, kind: Kind) -> str | None:
        """Return the text of the first block of *kind*, None without one."""
        return next((block.text for block in self.blocks if block.kind is kind), None)

    @property
    def calls(self) -> list[Block]:
        """The calls of tools among the blocks."""
        return [block for block in self.blocks if block.kind is Kind.CALL]


def object_of(raw: bytes) -> dict[str, Any]:
    """Read *raw* as a JSON object.

    Raises:
        BadRequest: It is none.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"expected a JSON object: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("expected a JSON object")
    return body


def model_of(name: object, settings: Settings) -> str:
    """Return the name of the model that is asked for; ours without one.

    Raises:
        BadRequest: It is not served here.
    """
    if name is None:
        return settings.names[0]
    if name not in settings.names:
        raise BadRequest(f"The model `{name}` does not exist.", status=404)
    return str(name)

"""What the policy made of a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clamp:
    """How the answer's limit was found, so that it can be found better.

    Attributes:
        field: The field that has the limit.
        estimate: Tokens of the prompt, estimated.
        asked: What the client asked for, or None.
        near: Whether the estimate is within a fifth of the context, so that
            counting is worth a question to the engine.
    """

    field: str
    estimate: int
    asked: int | None
    near: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """A request that may go on.

    Attributes:
        body: What the engine gets: the client's own bytes where nothing changed.
        changed: Names of the rules that changed something, for `X-Spark-Changed`.
        stream: Whether the client wants a stream of events.
        replay: Whether the engine is asked for a whole answer, to be streamed by us.
        usage: Whether that stream ends with the usage (`stream_options.include_usage`).
        clamp: How the limit of tokens was found, or None.
    """

    body: bytes
    changed: tuple[str, ...] = ()
    stream: bool = False
    replay: bool = False
    usage: bool = False
    clamp: Clamp | None = None

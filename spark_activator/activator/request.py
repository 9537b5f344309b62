"""A request that was let in, as the engine will get it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from spark_activator.activator.bodies import Content, FileBody
from spark_activator.http.body import Body, Sized
from spark_activator.http.head import Head
from spark_activator.http.policy.decision import Decision


class Request:
    """One request; a context manager, which forgets its body at the end.

    Attributes:
        head: What the client sent.
        decision: What the policy made of the body; None where it was not read.
            Its `body` is empty where the body is large.
        content: The body that the engine gets; None where it was not read.
    """

    def __init__(
        self,
        head: Head,
        body: Body,
        arrived: bytes,
        *,
        content: Content | None = None,
        decision: Decision | None = None,
    ) -> None:
        self.head = head
        self.content = content
        self.decision = decision
        self._body = body
        self._arrived = arrived

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.content is not None:
            self.content.close()

    @property
    def changed(self) -> tuple[str, ...]:
        """The rules of the policy that changed something."""
        return self.decision.changed if self.decision is not None else ()

    def outgoing(self) -> tuple[Head, Body | FileBody, bytes]:
        """Return the head for the engine, the body behind it, and what of that is here already."""
        content = self.content
        if content is None:
            return self.head, self._body, self._arrived
        # However it came, it is sent with a length, and nothing is to be waited for.
        head = self.head.with_length(content.size)
        if content.fd >= 0:
            return head, FileBody(content), b""
        return head, Sized(content.size), content.data

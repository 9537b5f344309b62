"""The messages of a conversation, kept within the model's context: values only."""

from __future__ import annotations

# Until the server has said how many tokens there were: bytes of a token.  English has
# about four, other languages fewer; too few forget early, too many are refused.
BYTES_PER_TOKEN = 3.0
# What the answer gets of the context.
ANSWER_SHARE = 0.25


class Conversation:
    """What was said so far.

    Args:
        context: Tokens that the model takes, None where nobody has said.
    """

    def __init__(self, context: int | None) -> None:
        self.messages: list[dict[str, str]] = []
        self._room = None if context is None else context * (1 - ANSWER_SHARE)
        self._bytes_per_token = BYTES_PER_TOKEN

    def ask(self, text: str) -> int:
        """Add a question; return how many of the oldest messages were forgotten for it."""
        self.messages.append({"role": "user", "content": text})
        forgotten = 0
        # A question and its answer go together, so that roles go on alternating.
        while len(self.messages) > 2 and not self._fits():
            del self.messages[:2]
            forgotten += 2
        return forgotten

    def answer(self, text: str, tokens: int | None = None) -> None:
        """Add the answer; *tokens* are those of all messages, where the server says.

        Without a text the question is taken back: roles have to alternate.
        """
        if not text:
            self.messages.pop()
            return
        self.messages.append({"role": "assistant", "content": text})
        if tokens:
            self._bytes_per_token = max(1.0, self._size() / tokens)

    def _fits(self) -> bool:
        return self._room is None or self._size() / self._bytes_per_token <= self._room

    def _size(self) -> int:
        return sum(len(message["content"].encode()) for message in self.messages)

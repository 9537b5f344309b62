"""What the demo engine says: made from the prompt alone, and it shows when a part is missing.

The same prompt always gets the same answer.  The last token of every answer of
at least two tokens is a checksum of what stands before it, so that a client can
tell (`is_complete`) whether a byte was lost, doubled or reordered on the way.
Some words are not ASCII: who cuts a character in two breaks the checksum.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence

_WORDS = (
    "a", "the", "old", "small", "quiet", "bright", "naïve", "spark", "engine", "socket", "lantern",
    "river", "café", "fox", "tower", "garden", "piñata", "light", "winter", "日本", "wakes",
    "sleeps", "answers", "waits", "runs", "listens", "glows", "again", "slowly", "tonight",
    "here", "→", "✨",
)  # fmt: skip


def answer_tokens(
    kind: str, prompt: str, *, length: int, limit: int | None, endless: bool
) -> tuple[list[str], str]:
    """Make the answer to *prompt*.

    Args:
        kind: `story` or `echo`; an echo is as long as its prompt.
        prompt: What was asked.
        length: Tokens of an answer that nothing cuts.
        limit: The request's own limit, or None.
        endless: Go on to the limit, as `ignore_eos` asks.

    Returns:
        The tokens, and the reason why there are no more: `stop` or `length`.
    """
    heard = prompt.split() if kind == "echo" else []
    natural = min(len(heard) + 1, length) if heard else length
    count = natural if limit is None else limit if endless else min(limit, natural)
    reason = "length" if limit is not None and (endless or limit < natural) else "stop"
    words = itertools.cycle(heard) if heard else _story(prompt)
    said = itertools.islice(words, max(count - 1, 1))
    tokens = [f" {word}" if index else word for index, word in enumerate(said)]
    if count > 1:
        tokens.append(f" #{checksum(''.join(tokens))}")
    return tokens, reason


def cut_at(tokens: list[str], stops: Sequence[str]) -> list[str]:
    """Return *tokens* up to where the first of *stops* begins; it need not be a whole token."""
    text = "".join(tokens)
    found = [at for at in (text.find(stop) for stop in stops if stop) if at >= 0]
    if not found:
        return tokens
    room, kept = min(found), []
    for token in tokens:
        if room <= 0:
            break
        kept.append(token[:room])
        room -= len(token)
    return kept


def checksum(text: str) -> str:
    """Return eight hex digits that stand for *text*."""
    # Half a surrogate pair leaves here as a question mark, and counts as one.
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


def is_complete(text: str) -> bool:
    """Tell whether *text* is a whole answer of at least two tokens."""
    said, separator, check = text.rpartition(" #")
    return bool(separator) and check == checksum(said)


def count_tokens(text: str) -> int:
    """Count what we take for tokens: words."""
    return len(text.split())


def token_number(word: str) -> int:
    """Return what stands for *word* in a list of tokens: always the same, below 32,000."""
    return int(checksum(word), 16) % 32000


def _story(prompt: str) -> Iterator[str]:
    chance = random.Random(checksum(prompt))  # noqa: S311  # the same story each time is the point
    while True:
        sentence = [chance.choice(_WORDS) for _ in range(chance.randint(4, 9))]
        sentence[0] = sentence[0].capitalize()
        sentence[-1] += "."
        yield from sentence

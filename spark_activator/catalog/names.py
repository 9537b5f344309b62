"""What may be a name: of a model (part of units, paths, containers), and towards clients."""

from __future__ import annotations

import re

# `%i` of a unit, a directory, a container's name and a segment of a URL at once:
# nothing of it is escaped anywhere, and 63 is what a DNS label has, too.
NAME = r"^[a-z0-9][a-z0-9._-]{0,62}(?!\n)$"

# The first segment behind `/v1/` of OpenAI's and Anthropic's APIs: nginx could
# not tell `/v1/chat/completions` from a model named `chat`.
_RESERVED = (
    "audio|batches|chat|classify|completions|conversations|detokenize|embeddings|engines|files|"
    "fine_tuning|images|load|messages|models|moderations|ping|pooling|realtime|rerank|responses|"
    "score|tokenize|uploads|v1|v2|vector_stores|version"
)

# What clients ask for is often the name on the hub, `openai/gpt-oss-20b`, or with
# a tag, `qwen3:30b`.  A segment begins with a letter or digit, so that none is
# `..`; the length is that of the longest names seen there, doubled.
CLIENT_NAME = (
    rf"^(?!(?:{_RESERVED})(?:/|$))"
    r"[A-Za-z0-9][A-Za-z0-9._:+-]*(?:/[A-Za-z0-9][A-Za-z0-9._:+-]*)*(?!\n)$"
)
LONGEST_CLIENT_NAME = 128


def wrong_name(name: str) -> str | None:
    """Say why *name* cannot be a model's, None if it can."""
    if not re.search(NAME, name):
        return (
            "expected a name of at most 63 letters a-z, digits, '.', '_' and '-', "
            f"beginning with a letter or digit, got {name!r}"
        )
    if name == "retired":
        return "'retired' is the file of models that are no more, and cannot be a model's name"
    if re.fullmatch(_RESERVED, name):
        return f"{name!r} is part of the API's paths and cannot be a model's name"
    return None

"""When tools are called: if the prompt asks for it in so many words.

`call NAME {"key": "value"}` in the last message calls a tool of that name with
these arguments, if the request has it; several are several calls.  A tool that
the request forces is called, with no arguments if none were given.  A tool's
result is answered by text, so that an agent's turn ends.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator

from spark_activator.demo.asked import Block, Kind
from spark_activator.demo.prompts import ANY, Prompt

_ASKED = re.compile(r"\bcall ([A-Za-z0-9_.-]{1,64}) (?=\{)")
# Characters of the arguments in each event of a stream: several for most.
_STRIDE = 8


def wanted(prompt: Prompt) -> list[Block]:
    """Return the calls that *prompt* asks for."""
    if prompt.answers_tool:
        return []
    forced = prompt.forced
    calls = [
        (name, arguments)
        for name, arguments in _asked(prompt.last)
        if name in prompt.tools and forced in (None, ANY, name)
    ]
    if not calls and forced is not None:
        calls = [(prompt.tools[0] if forced == ANY else forced, "{}")]
    return [
        Block(Kind.CALL, _pieces(arguments), name, secrets.token_hex(12))
        for name, arguments in calls
    ]


def _asked(text: str) -> Iterator[tuple[str, str]]:
    for found in _ASKED.finditer(text):
        try:
            _, end = json.JSONDecoder().raw_decode(text, found.end())
        except ValueError:
            continue
        yield found[1], text[found.end() : end]


def _pieces(arguments: str) -> list[str]:
    return [arguments[at : at + _STRIDE] for at in range(0, len(arguments), _STRIDE)]

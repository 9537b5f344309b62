"""The command line of a service → which engine, which model, which flags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_FLAG = re.compile(r"-{1,2}[A-Za-z]")
_SGLANG = "sglang.launch_server"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What an engine is started with.

    Attributes:
        engine: `vllm` or `sglang`.
        model: The repository or directory.
        flags: Each flag with its values, in their order; none for a switch.
    """

    engine: str
    model: str
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read(words: Sequence[str]) -> CommandLine | None:
    """Find the engine in *words*; None where there is neither vLLM nor SGLang."""
    if _SGLANG in words:
        engine, rest = "sglang", words[words.index(_SGLANG) + 1 :]
    elif "serve" in words:
        engine, rest = "vllm", words[words.index("serve") + 1 :]
    else:
        return None
    positional, flags = _split(rest)
    named = flags.pop("--model", ()) or flags.pop("--model-path", ())
    model = (*positional, *named, "")[0]
    return CommandLine(engine, model, flags) if model else None


def _split(words: Sequence[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    positional: list[str] = []
    flags: dict[str, tuple[str, ...]] = {}
    current = ""
    for word in words:
        if _FLAG.match(word):
            name, equals, value = word.partition("=")
            current = name.replace("_", "-") if name.startswith("--") else name
            flags[current] = (value,) if equals else ()
        elif current:
            flags[current] = (*flags[current], word)
        else:
            positional.append(word)
    return positional, flags

"""The arguments of `vllm serve` → a draft: what the runner computes becomes keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence

from spark_activator.catalog import computed
from spark_activator.catalog.names import CLIENT_NAME
from spark_activator.imports import hidden
from spark_activator.imports.draft import Draft, name_of, set_share
from spark_activator.imports.settings import UNKNOWN

# vLLM's short options, for those that mean something here.
_SHORT = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
}
# What the installation does by itself, in whatever way an engine was told to do it.
_OURS = {
    "host": "the engine serves on the runner's socket",
    "port": "the engine serves on the runner's socket",
    "uds": "the engine serves on the runner's socket",
    "shutdown-timeout": "comes from timeouts.drain",
    "download-dir": "weights are in the hub cache, which is mounted",
    "disable-log-requests": "requests are not logged any more unless asked for",
    "api-key": "keys are given with spark-model key",
    "hf-token": "weights are fetched before, with spark-model pull",
    "ssl-keyfile": "TLS is nginx's",
    "ssl-certfile": "TLS is nginx's",
    "ssl-ca-certs": "TLS is nginx's",
}
_COUNTS = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
_PLUGINS = ("reasoning-parser-plugin", "tool-parser-plugin", "chat-template", "middleware")
# Flags that take several values, and beginnings of those that take none.
_SEVERAL = ("served-model-name", "lora-modules", "middleware", "api-key")
_SWITCHES = ("enable-", "disable-", "no-", "trust-", "enforce-", "async-", "language-model-only")
# Its name, None for what stands before all flags; as it is written; its values.
_Flag = tuple[str | None, str, list[str]]
# No more digits than a context has.
_NUMBER = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([kKmMgG]?)")
_MOST_TOKENS = 10_000_000
# vLLM's own: small letters count in thousands, capitals in 1024s.
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}


def read(words: Sequence[str], draft: Draft) -> None:
    """Put the arguments *words* of `vllm serve`, behind these two words, into *draft*."""
    for name, flag, values in _with_model(list(_flags(words))):
        if name is None:
            _model(values, draft)
        else:
            _flag(name, flag, values, draft)
    _capabilities(draft)


def _flags(words: Sequence[str]) -> Iterator[_Flag]:
    """Yield each flag's name, the flag as it is written, and its values; first what has none."""
    groups: list[list[str]] = [[]]
    for word in words:
        if re.match(r"--?[A-Za-z]", word):
            flag, equals, value = word.partition("=")
            groups.append([flag, value] if equals else [flag])
        else:
            groups[-1].append(word)
    if groups[0]:
        yield None, "", groups[0]
    for flag, *values in groups[1:]:
        name = _SHORT.get(flag, flag.lstrip("-"))
        # `--speculative_config.num_tokens`: only what is before the point is a flag.
        head, point, rest = name.partition(".")
        yield head.replace("_", "-") + point + rest, flag, values


def _with_model(groups: list[_Flag]) -> list[_Flag]:
    """Take the model off the last flag, where it stands behind all of them."""
    if not groups or any(name in (None, "model", "model-tag") for name, _, _ in groups):
        return groups
    name, flag, values = groups[-1]
    alone = name is not None and name.startswith(_SWITCHES)
    if name in _SEVERAL or not values or not (alone or len(values) > 1):
        return groups
    if not re.fullmatch(r"/?[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+", values[-1]):
        return groups
    return [(None, "", values[-1:]), *groups[:-1], (name, flag, values[:-1])]


def _model(values: list[str], draft: Draft) -> None:
    draft.model = draft.model or values[0]
    for value in values[1:]:
        draft.lose(f"{value!r}: expected a flag")


def _flag(name: str, flag: str, values: list[str], draft: Draft) -> None:
    if name in _OURS:
        draft.computed.append(f"{flag}: {_OURS[name]}")
    elif any(UNKNOWN.search(value) for value in values):
        draft.lose(f"{' '.join([flag, *values])}: only the shell that it is for knows its value")
    elif name in _KEYS:
        _KEYS[name](draft, values)
        for value in () if name in (*_SEVERAL, "model", "model-tag") else values[1:]:
            draft.lose(f"{flag}: {value!r} is one value too many")
    elif hidden.is_secret(name, " ".join(values)):
        draft.lose(f"{flag}: has a secret in it, which does not belong into a model file")
    elif name in _COUNTS:
        _count(flag, values, draft)
    elif name == "distributed-executor-backend":
        draft.lose(f"{' '.join([flag, *values])}: is for more than one machine")
    elif beside := computed.found(computed.VLLM, [f"--{name}"]):
        draft.lose(f"{' '.join([flag, *values])}: {beside[0][1]}")
    elif name in _PLUGINS and values and not values[0].startswith("/") and "{" not in values[0]:
        draft.lose(
            f"{' '.join([flag, *values])}: a file of the source; put it on this machine, name it "
            "in container.files and give its path inside here"
        )
    else:
        draft.args.append([flag, *values])
        _noted(name, values, draft)


def _noted(name: str, values: list[str], draft: Draft) -> None:
    """Learn from a flag that stays."""
    if name == "speculative-config" and values:
        try:
            config = json.loads(values[0])
        except ValueError:
            return
        model = config.get("model") if isinstance(config, dict) else None
        if isinstance(model, str):
            draft.drafts.append(model)
    elif name == "speculative-config.model" and values:
        draft.drafts.append(values[0])
    elif name in _PLUGINS and values and values[0].startswith("/"):
        draft.comment("args", f"{values[0]} has to be in the image, or in container.files.")


def _count(flag: str, values: list[str], draft: Draft) -> None:
    if values == ["1"]:
        draft.computed.append(f"{flag} 1: is the default")
    else:
        draft.lose(f"{' '.join([flag, *values])}: a Spark has one GPU")


def _names(draft: Draft, values: list[str]) -> None:
    first, *others = values or [""]
    draft.name = draft.name or name_of(first)
    for name in (first, *others):
        if name == draft.name or name in draft.aliases:
            continue
        if re.search(CLIENT_NAME, name):
            draft.aliases.append(name)
        else:
            draft.lose(f"--served-model-name {name}: no client may use such a name")


def _context(draft: Draft, values: list[str]) -> None:
    value = values[0] if values else ""
    found = _NUMBER.fullmatch(value)
    tokens = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if 0 < tokens <= _MOST_TOKENS:
        draft.context = tokens
    elif value in ("auto", "-1"):
        draft.lose(
            f"--max-model-len {value}: write 'context' yourself, or the engine takes its own"
        )
    else:
        draft.lose(f"--max-model-len {value}: expected a number of tokens")


def _revision(draft: Draft, values: list[str]) -> None:
    draft.revision = values[0] if values else None


def _share(draft: Draft, values: list[str]) -> None:
    set_share(draft, values[0] if values else "")


# What becomes a key of the model file.
_KEYS: dict[str, Callable[[Draft, list[str]], None]] = {
    "gpu-memory-utilization": _share,
    "device-memory-utilization": _share,
    "max-model-len": _context,
    "served-model-name": _names,
    "model": lambda draft, values: _model(values, draft) if values else None,
    "model-tag": lambda draft, values: _model(values, draft) if values else None,
    "revision": _revision,
}


def _capabilities(draft: Draft) -> None:
    flags = {words[0].lstrip("-").replace("_", "-") for words in draft.args}
    if "enable-auto-tool-choice" in flags:
        draft.tools = "full"
    draft.reasoning = draft.reasoning or "reasoning-parser" in flags
    if {"runner", "task", "convert"} & flags:
        pooling = any(words[1:] in (["pooling"], ["embed"], ["score"]) for words in draft.args)
        draft.generates = draft.generates and not pooling

"""A draft → the text of a model file, with its comments."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping

from spark_activator.catalog.quantities import format_size
from spark_activator.imports.draft import Draft
from spark_activator.imports.hidden import one_line

_WIDTH = 98
# What YAML takes for the text that it is; anything else is quoted.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}


def text(draft: Draft) -> str:
    """Write *draft* as a model file."""
    lines = [*_head(draft)]
    for key, below in _keys(draft):
        lines += _comment(draft.comments.get(key, []))
        lines += below
    return "\n".join(lines) + "\n"


def _head(draft: Draft) -> Iterator[str]:
    yield f"# {draft.name}, written by spark-model add from {one_line(draft.origin)}."
    yield "# Nobody has run it yet: look at each guess."
    if draft.untranslated:
        yield "#"
        yield "# Not translated:"
        for lost in draft.untranslated:
            yield from _item(lost)
    if draft.computed:
        yield "#"
        yield "# Left out, because it comes by itself:"
        for ours in draft.computed:
            yield from _item(ours)


def _item(line: str) -> list[str]:
    return textwrap.wrap(
        one_line(line), _WIDTH, initial_indent="# * ", subsequent_indent="#   ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _comment(lines: list[str]) -> list[str]:
    return [
        wrapped
        for line in lines
        for wrapped in textwrap.wrap(
            one_line(line), _WIDTH, initial_indent="# ", subsequent_indent="# ",
            break_long_words=False, break_on_hyphens=False,
        )
    ]  # fmt: skip


def _keys(draft: Draft) -> Iterator[tuple[str, list[str]]]:
    if draft.summary:
        yield "summary", [f"summary: {scalar(one_line(draft.summary)[:200])}"]
    yield "status", ["status: experimental"]
    yield "source", ["source:", *_mapping(_source(draft))]
    if draft.aliases:
        yield "aliases", ["aliases:", *(f"  - {scalar(alias)}" for alias in draft.aliases)]
    yield "engine", [f"engine: {draft.engine}"]
    yield "image", [f"image: {scalar(draft.image)}"]
    if draft.args:
        yield "args", _args(draft.args)
    if draft.env:
        pairs = [f"  {name}: {quoted(value)}" for name, value in draft.env.items()]
        yield "env", ["env:", *pairs]
    yield from _container(draft)
    if draft.memory is not None:
        yield "memory", [f"memory: {size(draft.memory)}"]
    if draft.sizing:
        yield "sizing", ["sizing:", *_mapping(draft.sizing)]
    if draft.context is not None:
        yield "context", [f"context: {draft.context}"]
    known = _capabilities(draft)
    if known:
        yield "capabilities", ["capabilities:", *_mapping(known)]
    if not draft.generates:
        yield "readiness", ["readiness:", "  generate: false"]


def _container(draft: Draft) -> Iterator[tuple[str, list[str]]]:
    lines: list[str] = []
    if draft.mounts:
        lines += ["  mounts:", *(f"  {line}" for line in _mapping(draft.mounts))]
    if draft.devices:
        lines += ["  devices:", *(f"    - {scalar(device)}" for device in draft.devices)]
    if draft.ulimits:
        lines += ["  ulimits:", *(f"  {line}" for line in _mapping(draft.ulimits))]
    if lines:
        yield "container", ["container:", *lines]


def _source(draft: Draft) -> dict[str, object]:
    source: dict[str, object] = {"model": draft.model}
    if draft.revision:
        source["revision"] = draft.revision
    if not re.fullmatch(r"[0-9a-f]{40}", draft.revision or "") and not draft.model.startswith("/"):
        source["pinned"] = False
    if draft.drafts:
        source["drafts"] = list(dict.fromkeys(draft.drafts))
    source["from"] = one_line(draft.origin)[:200]
    return source


def _capabilities(draft: Draft) -> dict[str, object]:
    known: dict[str, object] = {"tools": draft.tools} if draft.tools else {}
    known |= {"vision": True} if draft.vision else {}
    return known | ({"reasoning": True} if draft.reasoning else {})


def _args(flags: list[list[str]]) -> list[str]:
    words = [word for flag in flags for word in flag]
    # In a block a '#' would be a comment, and a line a new one.
    if any("#" in word or not word.isprintable() for word in words):
        return ["args:", *(f"  - {quoted(word)}" for word in words)]
    return ["args: |", *(f"  {shlex.join(flag)}" for flag in flags)]


def _mapping(values: Mapping[str, object]) -> list[str]:
    return [f"  {scalar(key)}: {scalar(value)}" for key, value in values.items()]


def scalar(value: object) -> str:
    """Write one value, or a list of them on one line, as YAML."""
    if isinstance(value, list):
        return f"[{', '.join(scalar(item) for item in value)}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return quoted(value)


def quoted(value: object) -> str:
    """Write *value* as JSON that YAML reads alike: its escapes for what is no letter."""
    # What YAML takes for the end of a line, or for no letter, stands in texts alone.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def size(count: int) -> str:
    """Write *count* bytes in GiB, to a tenth, or exactly where that would be another."""
    tenths = round(count / (1 << 30), 1)
    if count >= 1 << 30 and abs(int(tenths * (1 << 30)) - count) <= 1:
        return f"{tenths:g}GiB"
    return format_size(count)

"""host.yaml with more hub caches in it; everything else of the text stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from spark_activator.catalog import hostfile
from spark_activator.errors import FileProblems

_KEY = re.compile(r"^hub_caches:[ \t]*(?P<rest>.*)$", re.MULTILINE)


def with_caches(text: str, caches: Sequence[str], file: str) -> str | None:
    """Add *caches* to the text of host.yaml.

    Returns:
        The new text, the same where all are there; None where the list is written in a
        way that only its owner can change.

    Raises:
        FileProblems: The file has problems of its own.
    """
    before = hostfile.parse(text, file)
    more = [cache for cache in caches if cache not in before.hub_caches]
    if not more:
        return text
    new = _added(text, more)
    try:
        after = hostfile.parse(new, file)
    except FileProblems:
        return None
    wanted = replace(before, hub_caches=(*before.hub_caches, *more))
    return new if after == wanted else None


def _added(text: str, more: Sequence[str]) -> str:
    items = "".join(f"  - {json.dumps(cache)}\n" for cache in more)
    key = _KEY.search(text)
    if key is None:
        end = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end}hub_caches:\n{items}"
    rest = key["rest"].split(" #")[0].strip()
    if rest.startswith("[") and rest.endswith("]"):
        said = ", ".join(filter(None, (rest[1:-1].strip(), *map(json.dumps, more))))
        return f"{text[: key.start('rest')]}[{said}]{text[key.start('rest') + len(rest) :]}"
    # At the head of the list: what is below may have comments and gaps.
    head, tail = text[: key.end()], text[key.end() :].removeprefix("\n")
    indent = re.match(r"(?:[ \t]*(?:#.*)?\n)*([ ]*)- ", tail)
    lead = indent[1] if indent else "  "
    items = "".join(f"{lead}- {json.dumps(cache)}\n" for cache in more)
    return f"{head}\n{_after_items(tail, items)}"


def _after_items(tail: str, items: str) -> str:
    """Put *items* behind the last line of a list that *tail* begins with."""
    lines = tail.splitlines(keepends=True)
    last = 0
    for number, line in enumerate(lines, 1):
        if re.match(r"[ ]*- ", line):
            last = number
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    lines[:last] = [line if line.endswith("\n") else f"{line}\n" for line in lines[:last]]
    return "".join([*lines[:last], items, *lines[last:]])

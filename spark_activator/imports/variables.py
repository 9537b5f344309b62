"""`.env`, and the variables that Compose puts into a text."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_MARKS = re.compile(r"\$\$|\$\{|\}")
# Defaults in defaults; nobody writes more.
_DEEPEST = 16


def dotenv(text: str) -> dict[str, str]:
    """Read `.env`: the last of two lines for a name wins, quotes are taken off."""
    found = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match and not line.lstrip().startswith("#"):
            name, value = match[1], match[2].strip()
            if value[:1] in {'"', "'"} and value.find(value[0], 1) > 0:
                value = value[1 : value.index(value[0], 1)]
            else:
                value = re.sub(r"(?:^|\s)#.*", "", value).rstrip()
            found[name] = value
    return found


def substitute(text: str, variables: Mapping[str, str], *, deep: int = 0) -> str:
    """Put *variables* into *text* as Compose does, also defaults in defaults."""
    out, place = [], 0
    closings = _closings(text)
    while (at := text.find("$", place)) >= 0:
        out.append(text[place:at])
        if text.startswith("$$", at):
            out.append("$")
            place = at + 2
        elif end := closings.get(at, 0):
            out.append(_value(text[at + 2 : end], variables, deep))
            place = end + 1
        elif name := _NAME.match(text, at + 1):
            out.append(variables.get(name[0], ""))
            place = name.end()
        else:
            out.append("$")
            place = at + 1
    return "".join([*out, text[place:]])


def _closings(text: str) -> dict[int, int]:
    """Say where each `${` is closed, if it is."""
    opened: list[int] = []
    found = {}
    for mark in _MARKS.finditer(text):
        if mark[0] == "${":
            opened.append(mark.start())
        elif mark[0] == "}" and opened:
            found[opened.pop()] = mark.start()
    return found


def _value(inside: str, variables: Mapping[str, str], deep: int) -> str:
    name = _NAME.match(inside)
    if not name or deep >= _DEEPEST:
        return ""
    value = variables.get(name[0])
    operator = _OPERATOR.match(inside, name.end())
    if not operator:
        return value or ""
    there = bool(value) if operator[0].startswith(":") else value is not None
    other = inside[operator.end() :]
    if operator[0].endswith("+"):
        return substitute(other, variables, deep=deep + 1) if there else ""
    if there or operator[0].endswith("?"):
        return value or ""
    return substitute(other, variables, deep=deep + 1)

"""A pasted block → the words of its commands, as a shell would split it, and no further.

Nothing is run or filled in but `${NAME:-default}`: `$NAME` and `$(…)` stay as they are
written, so that whoever reads a flag sees that its value is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: Words that end a command, of which `;` also stands for the end of a line.
ENDS = frozenset({"&&", "||", ";", "|", "&"})

_INSIDE = r"\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`"
_PIECE = re.compile(
    r"(?P<single>'[^']*')"
    r'|(?P<double>"(?:\\.|[^"\\])*")'
    r"|\\(?P<escaped>.)"
    rf"|(?P<plain>{_INSIDE}|[^\s'\"\\;&|<>])",
    re.DOTALL,
)
_END = re.compile(r"&&|\|\||[;&|\n]")
_REDIRECT = re.compile(r"\d*(?:&>>?|>>|>&|<<<|<>|>|<)[ \t]*(?:&?\d+-?|-)?")
_DEFAULT = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*:?-([^{}$`]*)\}")
_SPACE = re.compile(r"(?:[^\S\n]|\\\n)+")


class Unclosed(ValueError):
    """A quote has no end."""


def split(text: str) -> list[str]:
    """Split a pasted block: with prompts, comments and lines that go on.

    Raises:
        Unclosed: Its quotes are not closed.
    """
    return list(_words(_cleaned(text)))


def _cleaned(text: str) -> str:
    """Take prompts and whole lines of comment away, and join lines that go on."""
    lines = [re.sub(r"^\s*[$>] ", "", line) for line in text.splitlines()]
    kept = [line for line in lines if not re.match(r"\s*(?:#|$)", line)]
    if not kept and any("vllm" in line for line in lines):
        # Then `#` is root's prompt.
        kept = [re.sub(r"^\s*# ", "", line) for line in lines]
    joined, goes_on = [""], True
    for line in kept:
        # Where a backslash got lost the next line begins with a flag all the same.
        goes_on = goes_on or line.lstrip().startswith("-")
        whole = line.rstrip()
        joined += [" " if goes_on else "\n", whole.removesuffix("\\")]
        goes_on = whole.endswith("\\")
    return "".join(joined)


def _words(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if space := _SPACE.match(text, place):
            place = space.end()
        elif text[place] == "#":
            place = (text.find("\n", place) + 1 or len(text) + 1) - 1
        elif redirect := _REDIRECT.match(text, place):
            place = redirect.end()
            if not redirect[0].rstrip().endswith(tuple("0123456789-")):
                place = _word(text, _after_space(text, place))[1]
        elif end := _END.match(text, place):
            yield ";" if end[0] == "\n" else end[0]
            place = end.end()
        else:
            word, after = _word(text, place)
            if after == place:
                raise Unclosed("No closing quotation")
            place = after
            yield word


def _after_space(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    return space.end() if space else place


def _word(text: str, place: int) -> tuple[str, int]:
    """Return the word that begins at *place*, without its quotes, and where it ends."""
    pieces = []
    while piece := _PIECE.match(text, place):
        place = piece.end()
        if piece["single"] is not None:
            pieces.append(piece["single"][1:-1])
        elif piece["double"] is not None:
            inside = re.sub(r'\\([\\"$`\n])', _unescaped, piece["double"][1:-1])
            pieces.append(inside)
        elif piece["escaped"] is not None:
            pieces.append(piece["escaped"].replace("\n", ""))
        else:
            pieces.append(piece["plain"])
    if place < len(text) and text[place] in "'\"":
        raise Unclosed("No closing quotation")
    return _DEFAULT.sub(r"\1", "".join(pieces)), place


def _unescaped(found: re.Match[str]) -> str:
    return "" if found[1] == "\n" else found[1]

"""Command lines: a pasted block, or a list."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

from spark_activator.catalog.kinds import LONGEST
from spark_activator.catalog.section import INVALID, Report, quote

# A block is balanced when quotes are closed and its last backslash has something
# to escape: exactly then a shell's rules can split it.
_BALANCED = r"""^(?:[^'"\\]|\\[\s\S]|'[^']*'|"(?:[^"\\]|\\[\s\S])*")*(?!\n)$"""
# A shell would take it as a comment, the engine as an argument.
_COMMENT = r"(?:^|\s)#"
# `- --max-num-seqs 8` in a list is one argument with a blank in it.
_TWO_WORDS = r"^--?[A-Za-z][A-Za-z0-9._-]*[ \t]"
# A backslash at the end of a line goes on with the next one, also when blanks
# follow it, which a pasted block often has; other escapes are left to shlex.
_CONTINUED = re.compile(r"\\(?:([ \t]*\n)|[\s\S])")


@dataclass(frozen=True, slots=True)
class Words:
    """A command line: a pasted block that is split as a shell would, or a list."""

    least: int = 0

    def read(self, value: object, key: str, report: Report) -> object:
        """Split a block, or check every item of a list; returns a tuple."""
        if isinstance(value, str):
            return self._split(value, key, report)
        if not isinstance(value, list):
            return report.add(key, f"expected a block of words or a list, got {quote(value)}")
        words = [self._word(word, f"{key}[{n}]", report) for n, word in enumerate(value)]
        if len(words) < self.least:
            return report.add(key, f"expected at least {self.least} word, got none")
        return INVALID if any(word is INVALID for word in words) else tuple(words)

    def _split(self, block: str, key: str, report: Report) -> object:
        if len(block) > LONGEST:
            return report.add(key, f"expected at most {LONGEST} characters, got {len(block)}")
        if not re.search(_BALANCED, block):
            return report.add(key, "expected closed quotes and no backslash at the end")
        if re.search(_COMMENT, block):
            return report.add(key, "expected words, got a comment ('#'): a block has none")
        words = tuple(shlex.split(_CONTINUED.sub(_continue, block)))
        if len(words) < self.least:
            return report.add(key, f"expected at least {self.least} word, got none")
        return words

    def _word(self, word: object, key: str, report: Report) -> object:
        if not isinstance(word, str):
            return report.add(key, f"expected a string, got {quote(word)} (quote it)")
        if len(word) > LONGEST:
            return report.add(key, f"expected at most {LONGEST} characters, got {len(word)}")
        if re.search(_TWO_WORDS, word):
            return report.add(key, f"expected flag and value as two items, got {quote(word)}")
        return word

    def schema(self) -> dict[str, Any]:
        """Describe it."""
        item = {"type": "string", "maxLength": LONGEST, "not": {"pattern": _TWO_WORDS}}
        block: dict[str, Any] = {"type": "string", "maxLength": LONGEST, "pattern": _BALANCED}
        block["not"] = {"pattern": _COMMENT}
        if self.least:
            block["allOf"] = [{"pattern": r"\S"}]
        return {"anyOf": [block, {"type": "array", "items": item, "minItems": self.least}]}


def _continue(escape: re.Match[str]) -> str:
    if escape[1] is None:
        return escape[0]
    return "" if escape[1] == "\n" else " "

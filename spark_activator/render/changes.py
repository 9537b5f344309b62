"""Files as they are and as they should be: what has to be written, and how that reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One file that is not as it should be.

    Attributes:
        path: Where it lies.
        old: Its text; None where there is no file.
        new: What it should be; None where it should not be there.
    """

    path: str
    old: str | None
    new: str | None

    @property
    def verb(self) -> str:
        """What is done to the file, in the words of the report."""
        if self.old is None:
            return "create"
        return "remove" if self.new is None else "change"

    def diff(self) -> str:
        """Show it as a unified diff; an absent side is /dev/null, as git writes it."""
        return "".join(
            difflib.unified_diff(
                (self.old or "").splitlines(keepends=True),
                (self.new or "").splitlines(keepends=True),
                "/dev/null" if self.old is None else self.path,
                "/dev/null" if self.new is None else self.path,
            )
        )


def changes(
    present: Mapping[str, str | None], wanted: Mapping[str, str | None]
) -> tuple[Change, ...]:
    """Compare *present* with *wanted*, by path; a path that is not in *wanted* is left alone."""
    return tuple(
        Change(path, present.get(path), new)
        for path, new in wanted.items()
        if present.get(path) != new
    )


def diff(all_changes: Iterable[Change]) -> str:
    """Show *all_changes* one after the other."""
    return "".join(change.diff() for change in all_changes)

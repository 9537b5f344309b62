"""A file of entries by name, such as images.yaml; a broken entry costs only itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from spark_activator.catalog import document
from spark_activator.catalog.section import Report
from spark_activator.errors import FileProblems, Problem

EntryT = TypeVar("EntryT")

# Reads one entry by its name, or reports what is wrong with it and returns None.
Read = Callable[[str, object, Report], EntryT | None]


def parse(text: str, file: str, read: Read[EntryT]) -> tuple[dict[str, EntryT], list[Problem]]:
    """Read *text*, the content of *file*, entry by entry with *read*.

    Returns:
        The entries that are right, and what is wrong with the others.
    """
    report = Report(file)
    try:
        given = document.parse(text, file)
    except FileProblems as error:
        return {}, list(error.problems)
    found = {name: read(name, entry, report) for name, entry in given.items()}
    right = {name: entry for name, entry in found.items() if entry is not None}
    return right, sorted(report.problems)

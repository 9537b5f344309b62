"""`spark-model check [FILE…]`: every problem of the files, not only the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spark_activator.catalog.load import check_files, load_catalog, load_host
from spark_activator.errors import FileProblems, Problem
from spark_activator.layout import Layout


def run(layout: Layout, files: Sequence[str]) -> int:
    """Check the model files *files*, or all that are installed and the host settings.

    Returns:
        0, or 1 when there is a problem.
    """
    if files:
        problems = check_files(layout, [Path(file) for file in files])
        checked = _count(len(files), "file")
    else:
        catalog = load_catalog(layout)
        problems = [*_host(layout), *catalog.problems]
        checked = f"{_count(len(catalog.files), 'model')} and the host settings"
    for problem in problems:
        print(problem)
    print(f"{checked}: {_count(len(problems), 'problem')}" if problems else f"{checked}: good")
    return 1 if problems else 0


def _host(layout: Layout) -> Sequence[Problem]:
    try:
        load_host(layout)
    except FileProblems as error:
        return error.problems
    return ()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

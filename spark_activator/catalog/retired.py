"""The text of retired.yaml: names that were models once, and what to ask for instead."""

from __future__ import annotations

from dataclasses import dataclass

from spark_activator.catalog import entries
from spark_activator.catalog.kinds import LINE
from spark_activator.catalog.names import wrong_name
from spark_activator.catalog.section import Report, Setting, Table
from spark_activator.catalog.settings import NAME_KIND
from spark_activator.errors import Problem


@dataclass(frozen=True, slots=True)
class Retired:
    """Why a model is no more, and the model of the catalog to ask instead; None: there is none."""

    reason: str
    instead: str | None = None


RETIRED = Table(
    {
        "reason": Setting(LINE, "Why it is no more.", required=True),
        "instead": Setting(NAME_KIND, "The model of the catalog to ask for instead."),
    },
    Retired,
)


def parse(text: str, file: str) -> tuple[dict[str, Retired], list[Problem]]:
    """Read retired.yaml.

    Returns:
        The names that are right, and what is wrong with the others.
    """
    return entries.parse(text, file, _retired)


def _retired(name: str, entry: object, report: Report) -> Retired | None:
    wrong = wrong_name(name)
    if wrong:
        report.add(name, wrong)
        return None
    found = RETIRED.read(entry, name, report)
    return found if isinstance(found, Retired) else None

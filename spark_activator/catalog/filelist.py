"""The text of files.yaml → files that can be had, by the hash of their content."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_activator.catalog import entries
from spark_activator.catalog.kinds import LINK, Text
from spark_activator.catalog.section import Report, Setting, Table
from spark_activator.errors import Problem

_NAME = Text("a file's name", r"^[A-Za-z0-9][A-Za-z0-9._-]*(?!\n)$", 255)
_SHIPPED = Text(
    "a file of images/ such as 'patches/some.py'",
    r"^[a-z0-9][a-z0-9-]*/[A-Za-z0-9][A-Za-z0-9._-]*(?!\n)$",
    255,
)
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Fetchable:
    """A file that can be had: what it is called there, and where that is.

    Attributes:
        name: What it is called where it comes from.
        url: Where it is fetched; empty where it is shipped.
        shipped: Where it lies below images/; empty where it is fetched.
    """

    name: str
    url: str = ""
    shipped: str = ""


FILE = Table(
    {
        "name": Setting(_NAME, "What it is called where it comes from.", required=True),
        "url": Setting(LINK, "Where it is fetched."),
        "shipped": Setting(_SHIPPED, "Where it lies in images/: it comes with this project."),
    },
    Fetchable,
)


def parse(text: str, file: str) -> tuple[dict[str, Fetchable], list[Problem]]:
    """Read files.yaml.

    Returns:
        Files by 'sha256:' and 64 hex digits, and what is wrong with the other entries.
    """
    return entries.parse(text, file, _fetchable)


def _fetchable(name: str, entry: object, report: Report) -> Fetchable | None:
    if not _HASH.fullmatch(name):
        report.add(name, "expected 'sha256:' and 64 hex digits as its name")
        return None
    found = FILE.read(entry, name, report)
    if not isinstance(found, Fetchable):
        return None
    if bool(found.url) == bool(found.shipped):
        report.add(name, "expected one of 'url' and 'shipped'")
        return None
    return found

"""The text of images.yaml → images by name; a broken entry costs only itself."""

from __future__ import annotations

from spark_activator.catalog import document
from spark_activator.catalog.kinds import Switch, Text
from spark_activator.catalog.model import Image
from spark_activator.catalog.names import wrong_name
from spark_activator.catalog.section import Report, Setting, Table
from spark_activator.errors import FileProblems, Problem

_REFERENCE = Text(
    "a reference such as 'registry/name:tag' without a digest",
    r"^[a-z0-9][a-z0-9._/-]*(?::[0-9]+/[a-z0-9._/-]+)?(?::[A-Za-z0-9_][A-Za-z0-9._-]*)?(?!\n)$",
    255,
)
_DIGEST = Text("'sha256:' and 64 hex digits", r"^sha256:[0-9a-f]{64}(?!\n)$", 71)

IMAGE = Table(
    {
        "reference": Setting(_REFERENCE, "What Docker calls it.", required=True),
        "digest": Setting(_DIGEST, "The digest that was read in full in a source."),
        "pinned": Setting(Switch(), "false where no digest is known: pull records what it got."),
        "cpu": Setting(Switch(), "It runs on the CPU and gets no GPU devices."),
    }
)


def parse(text: str, file: str) -> tuple[dict[str, Image], list[Problem]]:
    """Read images.yaml.

    Returns:
        The images that are right, and what is wrong with the others.
    """
    report = Report(file)
    try:
        entries = document.parse(text, file)
    except FileProblems as error:
        return {}, list(error.problems)
    images = {name: _image(name, entry, report) for name, entry in entries.items()}
    return {name: image for name, image in images.items() if image}, sorted(report.problems)


def _image(name: str, entry: object, report: Report) -> Image | None:
    wrong = wrong_name(name)
    if wrong:
        report.add(name, wrong)
        return None
    values = IMAGE.read(entry, name, report)
    if not isinstance(values, dict):
        return None
    # One of the two is said aloud, so that nobody forgets the digest in silence.
    if ("digest" in values) is (values.pop("pinned", True) is False):
        report.add(name, "expected either 'digest' or 'pinned: false'")
        return None
    return Image(name=name, **values)

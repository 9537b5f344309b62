"""The text of images.yaml → images by name; a broken entry costs only itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_activator.catalog import entries
from spark_activator.catalog.kinds import LINE, LINK, MapOf, Switch, Text
from spark_activator.catalog.model import Image
from spark_activator.catalog.names import wrong_name
from spark_activator.catalog.section import Report, Setting, Table
from spark_activator.errors import Problem

_REFERENCE = Text(
    "a reference such as 'registry/name:tag' without a digest",
    r"^[a-z0-9][a-z0-9._/-]*(?::[0-9]+/[a-z0-9._/-]+)?(?::[A-Za-z0-9_][A-Za-z0-9._-]*)?(?!\n)$",
    255,
)
_FOLDER = Text("a folder of images/", r"^[a-z0-9][a-z0-9.-]*(?!\n)$", 63)
_FLAG = Text("a flag such as '--max-num-seqs'", r"^--[a-z0-9][a-z0-9-]*(?!\n)$", 63)
_DIGEST = Text("'sha256:' and 64 hex digits", r"^sha256:[0-9a-f]{64}(?!\n)$", 71)

IMAGE = Table(
    {
        "reference": Setting(_REFERENCE, "What Docker calls it.", required=True),
        "digest": Setting(_DIGEST, "The digest that was read in full in a source."),
        "pinned": Setting(Switch(), "false where no digest is known: pull records what it got."),
        "cpu": Setting(Switch(), "It runs on the CPU and gets no GPU devices."),
        "summary": Setting(LINE, "What it is for, in a few words."),
        "serves": Setting(LINE, "The engine in it and its version, such as 'vLLM 0.28.0'."),
        "build": Setting(_FOLDER, "The folder of images/ from which it is built on this machine."),
        "flags": Setting(
            MapOf(_FLAG, LINK), "Flags that only this image knows, and where it documents them."
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of images.yaml, and what is known of it beyond what Docker is asked for.

    Attributes:
        image: What model files name.
        summary: What it is for.
        serves: The engine in it and its version.
        build: The folder that it is built from; None where it is pulled.
        flags: Flags that only this image knows: where it documents them.
    """

    image: Image
    summary: str = ""
    serves: str = ""
    build: str | None = None
    flags: dict[str, str] = field(default_factory=dict)


def parse(text: str, file: str) -> tuple[dict[str, Entry], list[Problem]]:
    """Read images.yaml.

    Returns:
        The images that are right, and what is wrong with the others.
    """
    return entries.parse(text, file, _image)


def _image(name: str, entry: object, report: Report) -> Entry | None:
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
    known = {key: values.pop(key) for key in ("reference", "digest", "cpu") if key in values}
    return Entry(Image(name=name, **known), **values)

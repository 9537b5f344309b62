"""Whether an image is what it should be: its digest, or what it was built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spark_activator.catalog.images import Entry
from spark_activator.cli import image_context
from spark_activator.cli.image_docker import Found
from spark_activator.errors import UserError
from spark_activator.layout import Layout


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is good, and why."""

    good: bool
    says: str


def judge(
    entry: Entry, found: Found | None, remembered: Mapping[str, object], layout: Layout
) -> Verdict:
    """Compare what Docker has with images.yaml, the folder, and what the last pull got."""
    image = entry.image
    if found is None:
        way = "build" if entry.build else "pull"
        return Verdict(good=False, says=f"not here (run: spark-model image {way} {image.name})")
    if image.digest is not None:
        # Docker was asked for this digest: it checks content against it as it comes.
        if image.digest in found.digests:
            return Verdict(good=True, says=f"good, it is {image.digest}")
        got = ", ".join(sorted(found.digests)) or found.id
        return Verdict(good=False, says=f"wrong, expected {image.digest}, got {got}")
    if entry.build is not None:
        return _built(entry, found, layout)
    return _unpinned(entry, found, remembered)


def _built(entry: Entry, found: Found, layout: Layout) -> Verdict:
    name, again = entry.image.name, f"spark-model image build {entry.image.name}"
    assert entry.build is not None
    if found.labels.get(image_context.LABEL) != name:
        return Verdict(good=False, says=f"not built by 'spark-model image build' (run: {again})")
    try:
        context = image_context.read(layout.image_folders / entry.build)
    except UserError as error:
        return Verdict(good=False, says=error.message)
    if found.labels.get(image_context.INPUTS) != context.digest():
        return Verdict(good=False, says=f"built from other files (run: {again})")
    words = found.labels.get(image_context.ARGUMENTS)
    given = f" with {words}" if words else ""
    return Verdict(good=True, says=f"good, built from what is here{given}")


def _unpinned(entry: Entry, found: Found, remembered: Mapping[str, object]) -> Verdict:
    if not remembered:
        return Verdict(
            good=False,
            says=f"not pinned, and nobody knows what it is "
            f"(run: spark-model image pull {entry.image.name})",
        )
    if remembered.get("id") == found.id:
        return Verdict(
            good=True, says=f"good, it is what was pulled on {remembered.get('at')}, {found.id}"
        )
    return Verdict(
        good=False, says=f"wrong, {remembered.get('id')} was pulled, and this is {found.id}"
    )

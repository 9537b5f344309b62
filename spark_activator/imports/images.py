"""Which image of images.yaml a draft gets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from spark_activator.catalog.images import Entry
from spark_activator.imports.draft import Draft

_VERSION = re.compile(r"vLLM (\d+)\.(\d+)(?:\.(\d+))?$")


def choose(draft: Draft, entries: Mapping[str, Entry], wanted: str = "") -> None:
    """Give *draft* the image *wanted*, or that of its reference, or the newest stock vLLM.

    Raises:
        KeyError: There is no image *wanted*.
        LookupError: There is no image with vLLM at all.
    """
    if wanted:
        draft.image = entries[wanted].image.name
        return
    asked, _, digest = draft.reference.partition("@")
    same = [name for name, entry in entries.items() if entry.image.reference == asked]
    if same:
        draft.image = same[0]
        ours = entries[draft.image].image.digest
        if digest and digest != ours:
            draft.comment("image", f"The source has {digest}, images.yaml {ours or 'no digest'}.")
        return
    draft.image = _newest(entries)
    if draft.reference:
        draft.comment("image", f"The source asks for {draft.reference}, which images.yaml has not.")
        draft.lose(
            f"image {draft.reference}: {draft.image} is written instead; to have it, name it in "
            "/etc/spark-activator/images.yaml and here"
        )
    else:
        draft.comment("image", "A guess: the newest release of vLLM in images.yaml.")


def _newest(entries: Mapping[str, Entry]) -> str:
    """Name the newest release of vLLM for the GPU, else any image with vLLM."""
    found = {name: _VERSION.match(entry.serves) for name, entry in entries.items()}
    # One that is built here takes an hour, and is for models that need it.
    releases = [
        (tuple(int(part or 0) for part in version.groups()), name)
        for name, version in found.items()
        if version and not entries[name].image.cpu and not entries[name].build
    ]
    if releases:
        return max(releases)[1]
    others = sorted(name for name in entries if "vllm" in name)
    if not others:
        raise LookupError("images.yaml has no image with vLLM")
    return min(others, key=lambda name: entries[name].image.cpu)

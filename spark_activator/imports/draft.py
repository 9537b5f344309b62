"""A model file in the making: what is known, why, and what could not be translated."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from spark_activator.imports.hidden import one_line

# Longest that a name may be (catalog/names.py), and its letters.
_NAME_LENGTH = 63
GIB = 1 << 30
# What a DGX Spark says as MemTotal, of which vLLM's share is taken, and what a lease may have
# of it: 8 GiB stay with the host, and a little for what runs beside.
SPARK_TOTAL = int(121.69 * GIB)
SPARK_MOST = 109 * GIB


@dataclass(slots=True)
class Draft:
    """What a model file will say.

    Attributes:
        name: The model's, empty where nobody has said.
        model: The repository or directory, empty where nobody has said.
        origin: Where it was read.
        image: A name of images.yaml.
        reference: The image that the source asks for, as Docker calls it; empty: none.
        memory: Bytes of the lease; None where nobody has said.
        caches: Mounts that are left out, since the runner has caches of its own.
        sizing: The file's `sizing`, as it is written.
        comments: Lines above a key, such as why its value is a guess.
        computed: Flags and settings that the runner or the installation takes care of.
        untranslated: What the source says and this file does not, each with what to do.
    """

    name: str = ""
    model: str = ""
    revision: str | None = None
    origin: str = ""
    summary: str = ""
    engine: str = "vllm"
    image: str = ""
    reference: str = ""
    aliases: list[str] = field(default_factory=list)
    args: list[list[str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    drafts: list[str] = field(default_factory=list)
    memory: int | None = None
    context: int | None = None
    sizing: dict[str, Any] = field(default_factory=dict)
    mounts: dict[str, str] = field(default_factory=dict)
    caches: dict[str, str] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    ulimits: dict[str, int] = field(default_factory=dict)
    outbound: bool = False
    tools: str | None = None
    reasoning: bool = False
    vision: bool = False
    generates: bool = True
    comments: dict[str, list[str]] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    untranslated: list[str] = field(default_factory=list)

    def comment(self, key: str, line: str) -> None:
        """Put *line* above *key*."""
        self.comments.setdefault(key, []).append(line)

    def lose(self, what: str) -> None:
        """Say that *what* could not be translated, as `one_line` repeats it."""
        said = one_line(what)
        if said not in self.untranslated:
            self.untranslated.append(said)


def name_of(text: str) -> str:
    """Make a model's name of *text*: the last part of a repository, in small letters."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.rstrip("/").rpartition("/")[2].lower())
    return name.strip("._-")[:_NAME_LENGTH].strip("._-")


def inside_name(path: str) -> str:
    """Name the directory in a container in which a folder at *path* appears."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.rstrip("/").rpartition("/")[2])
    return name.strip("._-") or "model"


def set_share(draft: Draft, share: str) -> None:
    """Turn vLLM's share of the memory into the lease of *draft*, down to a tenth of a GiB."""
    try:
        fraction = float(share)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        draft.lose(f"--gpu-memory-utilization {share}: expected a share of the memory")
        return
    size = int(int(fraction * SPARK_TOTAL) * 10 // GIB * GIB / 10)
    draft.comment("memory", f"{share} of the 121.69 GiB of a DGX Spark, as in the source.")
    if size > SPARK_MOST:
        size = SPARK_MOST
        draft.comment("memory", "More than 109 GiB leaves the host too little.")
    draft.memory = size

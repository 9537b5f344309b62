"""The catalog as it is in the tree, read by the loader that an installation uses."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from spark_activator.catalog import images, load
from spark_activator.catalog.model import Model
from spark_activator.layout import Layout

ROOT = Path(__file__).parents[1]
# MemTotal of a Spark: reference figure of NVIDIA's GB10, 121.69 GiB.
SPARK_MEMORY = 127_600_748 << 10


@cache
def models() -> dict[str, Model]:
    """Every model that is right, disabled ones too."""
    with _layout() as root:
        return load.load_catalog(_at(root)).models


@cache
def image_entries() -> dict[str, images.Entry]:
    """Every image of images.yaml."""
    with _layout() as root:
        return load.load_image_entries(_at(root))[0]


def _layout() -> tempfile.TemporaryDirectory[str]:
    directory = tempfile.TemporaryDirectory()
    (Path(directory.name) / "models").symlink_to(ROOT / "models")
    (Path(directory.name) / "images.yaml").symlink_to(ROOT / "images/images.yaml")
    return directory


def _at(root: str) -> Layout:
    none = Path(root) / "none"
    return Layout(none, none, none, Path(root))

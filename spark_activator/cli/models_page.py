"""Prints docs/models.md from the models of a source tree: `python -m` this, in the tree."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from spark_activator.catalog.load import load_catalog, load_retired
from spark_activator.layout import Layout
from spark_activator.render.models_page import page


def text(tree: Path) -> str:
    """Write the page about the catalog in *tree*."""
    # The loader reads the catalog as an installation has it.
    with tempfile.TemporaryDirectory() as directory:
        share = Path(directory)
        (share / "models").symlink_to((tree / "models").resolve())
        (share / "images.yaml").symlink_to((tree / "images/images.yaml").resolve())
        layout = Layout(share / "none", share / "none", share / "none", share)
        return page(load_catalog(layout).models, load_retired(layout)[0])


if __name__ == "__main__":
    sys.stdout.write(text(Path.cwd()))

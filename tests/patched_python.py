"""The files that a model of the catalog mounts, laid out as its container has them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from catalog_shipped import ROOT, models

from spark_activator.catalog import filelist

MODEL = "qwen3-coder-next-int4-autoround"


def lay_out(root: Path) -> dict[str, str]:
    """Put its shipped files below *root* and return an environment in which Python finds them."""
    model = models()[MODEL]
    text = (ROOT / "images/files.yaml").read_text()
    known, _ = filelist.parse(text, "files.yaml")
    for inside, digest in model.container.files.items():
        path = root / inside.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "images" / known[digest].shipped, path)
    inside = model.env["PYTHONPATH"]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(root / inside.lstrip("/"))}

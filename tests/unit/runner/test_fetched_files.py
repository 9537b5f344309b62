"""Files that a model mounts by their hash are there before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_activator.catalog.model import ContainerOptions, Engine, Model, Source
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner.machine import require_files

HASH = "sha256:" + "ab" * 32


def test_one_that_was_not_fetched_is_named_with_the_command(tmp_path: Path) -> None:
    files = {"/etc/encodings/a": HASH, "/etc/own": "/srv/own"}
    model = Model(
        "m", 18300, Engine.VLLM, Source("a/b"), 1 << 30, container=ContainerOptions(files=files)
    )
    layout = Layout(tmp_path, tmp_path, tmp_path, tmp_path)

    with pytest.raises(EngineFailed, match=f"{HASH} .*run: spark-model pull m") as failed:
        require_files(model, layout)
    assert failed.value.code == "weights_missing"

    # Where `pull` puts it; a path of the owner's is Docker's to complain about.
    layout.fetched_files.mkdir()
    (layout.fetched_files / HASH).touch()
    require_files(model, layout)

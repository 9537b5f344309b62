"""`spark-model pull` brings the files that a model mounts by their hash."""

from __future__ import annotations

import hashlib
import io
import json

import pytest

from spark_activator.catalog.load import load_catalog
from spark_activator.cli import pull
from spark_activator.errors import UserError
from spark_activator.weights import files

CONTENT = b"IQ== 0\n"
HASH = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def test_each_is_fetched_and_recorded(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    share = machine.layout.share
    (share / "images.yaml").write_text("own: {reference: own, pinned: false}\n")
    (share / "files.yaml").write_text(f"{HASH}: {{name: a, url: 'https://example.org/a'}}\n")
    machine.layout.owner_models.mkdir(parents=True, exist_ok=True)
    (machine.layout.owner_models / "m.yaml").write_text(
        "source: {model: /weights}\nengine: container\nimage: own\nmemory: 1GiB\nport: 18300\n"
        f"container: {{files: {{/etc/encodings/a: '{HASH}'}}}}\n"
    )
    model = load_catalog(machine.layout).models["m"]

    monkeypatch.setattr(files, "_get", lambda url: io.BytesIO(b"a login page"))
    with pytest.raises(UserError, match="not the file it should be"):
        pull.ensure(machine.layout, model)

    monkeypatch.setattr(files, "_get", lambda url: io.BytesIO(CONTENT))
    pull.ensure(machine.layout, model)
    assert (machine.layout.fetched_files / HASH).read_bytes() == CONTENT
    assert HASH in json.loads(machine.layout.pulled("m").read_text())["files"]


def test_one_that_is_shipped_comes_without_a_network(
    machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = machine.layout.share
    (share / "images.yaml").write_text("own: {reference: own, pinned: false}\n")
    (share / "files.yaml").write_text(f"{HASH}: {{name: a, shipped: patches/a.py}}\n")
    path = share / "images/patches/a.py"
    path.parent.mkdir(parents=True)
    machine.layout.owner_models.mkdir(parents=True, exist_ok=True)
    (machine.layout.owner_models / "m.yaml").write_text(
        "source: {model: /weights}\nengine: container\nimage: own\nmemory: 1GiB\nport: 18300\n"
        f"container: {{files: {{/opt/patches/a.py: '{HASH}'}}}}\n"
    )
    model = load_catalog(machine.layout).models["m"]
    monkeypatch.setattr(files, "_get", lambda url: pytest.fail(f"asked for {url}"))

    path.write_bytes(CONTENT + b"x")
    with pytest.raises(UserError, match=r"patches/a\.py is not the file it should be"):
        pull.ensure(machine.layout, model)
    assert not (machine.layout.fetched_files / HASH).exists()

    path.write_bytes(CONTENT)
    pull.ensure(machine.layout, model)
    assert (machine.layout.fetched_files / HASH).read_bytes() == CONTENT

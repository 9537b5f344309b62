"""What is shipped: the catalog, its images, the schema and the page about them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from catalog_shipped import image_entries
from jsonschema import Draft202012Validator

import spark_activator.catalog
from spark_activator.catalog import document, frozen, load
from spark_activator.catalog.hostfile import HOST
from spark_activator.catalog.schema import json_schema, text
from spark_activator.layout import Layout

ROOT = Path(__file__).parents[3]
FILES = sorted(path for path in (ROOT / "models").glob("*.yaml") if path.stem != load.RETIRED)


@pytest.fixture
def catalog(tmp_path: Path) -> load.Catalog:
    share = tmp_path / "share"
    share.mkdir()
    (share / "models").symlink_to(ROOT / "models")
    (share / "images.yaml").symlink_to(ROOT / "images/images.yaml")
    return load.load_catalog(Layout(tmp_path, tmp_path, tmp_path, share))


def test_every_model_of_the_catalog_is_right(catalog: load.Catalog) -> None:
    assert catalog.problems == []
    assert set(catalog.models) == {path.stem for path in FILES}
    assert {"demo-echo", "demo-story", "tiny-vllm"} <= set(catalog.models)


def test_every_model_of_the_catalog_freezes(catalog: load.Catalog) -> None:
    for model in catalog.models.values():
        assert frozen.load(frozen.dump(model)) == model


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_schema_of_the_catalog_agrees(path: Path) -> None:
    Draft202012Validator(json_schema(vendor=True)).validate(document.parse(path.read_text(), "x"))


def test_every_image_of_the_catalog_is_used(catalog: load.Catalog) -> None:
    named = document.parse((ROOT / "images/images.yaml").read_text(), "images.yaml")

    assert set(named) == {model.image.name for model in catalog.models.values() if model.image}


def test_the_page_of_an_image_that_is_built_names_each_of_its_models(catalog: load.Catalog) -> None:
    entries = image_entries()
    for model in catalog.models.values():
        folder = entries[model.image.name].build if model.image else None
        if folder:
            text = (ROOT / f"images/{folder}/README.md").read_text()
            assert f"`{model.name}`" in text, f"images/{folder}/README.md: name '{model.name}'"


def test_shipped_schema_is_fresh() -> None:
    # Write it anew: python -m spark_activator.catalog.schema > …/model.schema.json
    shipped = Path(spark_activator.catalog.__file__).with_name("model.schema.json")

    assert shipped.read_text() == text()
    assert json.loads(text()) == json_schema()


def keys(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, below in schema.get("properties", {}).items():
        yield path + name
        yield from keys(below, f"{path}{name}.")


def test_every_key_is_on_the_page_about_model_files() -> None:
    page = (ROOT / "docs/model-file.md").read_text()
    models, host = (
        set(re.findall(r"^\| `([a-z_.]+)`", page.partition(start)[2], flags=re.MULTILINE))
        for start in ("## Keys", "## host.yaml")
    )

    assert models - host == set(keys(json_schema()))
    assert host == set(HOST.settings)

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spark_activator.catalog import load
from spark_activator.catalog.host import Gpu, HostSettings
from spark_activator.catalog.model import Image
from spark_activator.layout import Layout

VENDOR = "{source: {model: a/b}, memory: 1GiB, image: demo, port: %s}"
OWNER = "{source: {model: a/b}, memory: 1GiB, image: demo}"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(*(tmp_path / root for root in ("config", "state", "run", "share")))
    layout.vendor_models.mkdir(parents=True)
    layout.owner_models.mkdir(parents=True)
    layout.images_file.write_text("demo: {reference: demo, pinned: false}\n")
    (layout.vendor_models / "a.yaml").write_text(VENDOR % 18100)
    (layout.vendor_models / "b.yaml").write_text(VENDOR % 18101)
    return layout


def own(layout: Layout, name: str, text: str | bytes) -> None:
    (layout.owner_models / name).write_bytes(text.encode() if isinstance(text, str) else text)


def problems(catalog: load.Catalog) -> list[str]:
    return [f"{Path(p.file).name}: {p.key}: {p.message}" for p in catalog.problems]


def test_catalog_of_vendor_and_owner(layout: Layout) -> None:
    own(layout, "c.yaml", OWNER)
    own(layout, "b.yaml", "{extends: b, memory: 2GiB}")

    catalog = load.load_catalog(layout)

    assert problems(catalog) == []
    assert {name: model.port for name, model in catalog.models.items()} == {
        "a": 18100, "b": 18101, "c": 18300,
    }  # fmt: skip
    assert catalog.models["b"].memory == 2 << 30
    assert catalog.models["a"].vendor
    assert not catalog.models["b"].vendor
    assert catalog.files["b"].endswith("config/models/b.yaml")


def test_nothing_there_is_an_empty_catalog(tmp_path: Path) -> None:
    layout = Layout(*(tmp_path / root for root in ("config", "state", "run", "share")))

    catalog = load.load_catalog(layout)

    assert (catalog.models, catalog.problems) == ({}, [])


def test_broken_file_disables_that_model_alone_also_the_vendors_of_its_name(layout: Layout) -> None:
    own(layout, "b.yaml", "{extends: b, memory: 2GB}")

    catalog = load.load_catalog(layout)

    assert list(catalog.models) == ["a"]
    assert problems(catalog) == ["b.yaml: memory: expected a size such as '24GiB', got '2GB'"]


def test_broken_file_of_the_catalog_cannot_be_extended(layout: Layout) -> None:
    (layout.vendor_models / "a.yaml").write_text("a: b: c")
    own(layout, "mine.yaml", "extends: a\nmemory: 1GiB\nsource: {model: x}\nimage: demo")

    assert [line.partition(":")[0] for line in problems(load.load_catalog(layout))] == [
        "mine.yaml",
        "a.yaml",
    ]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("x.yaml", b"a: 1\nb: \xff\n", "line 2: expected UTF-8, got byte 0xff"),
        ("x.yaml", "", "expected settings, the file is empty"),
        ("x.yaml", b"a" * (5 << 20), "expected at most 256 KiB"),
        ("x.yml", OWNER, "expected a name that ends in .yaml"),
        ("X.yaml", OWNER, "expected a name of at most 63"),
    ],
)
def test_file_that_cannot_be_read(
    layout: Layout, name: str, text: str | bytes, problem: str
) -> None:
    own(layout, name, text)

    catalog = load.load_catalog(layout)

    assert list(catalog.models) == ["a", "b"]
    assert len(catalog.problems) == 1
    assert problem in catalog.problems[0].message
    assert catalog.problems[0].file.endswith(name)


def test_what_is_no_file_is_named_and_hangs_nobody(layout: Layout) -> None:
    (layout.owner_models / "d.yaml").mkdir()
    os.mkfifo(layout.owner_models / "e.yaml")
    (layout.owner_models / "f.yaml").symlink_to("nowhere")
    (layout.owner_models / ".g.yaml").write_text("an editor's own: [")
    (layout.owner_models / "README").write_text("not a model")

    catalog = load.load_catalog(layout)

    assert list(catalog.models) == ["a", "b"]
    assert [Path(p.file).name for p in catalog.problems] == ["d.yaml", "e.yaml", "f.yaml"]


def test_port_is_remembered(layout: Layout) -> None:
    own(layout, "m.yaml", OWNER)
    load.store_ports(layout, load.load_catalog(layout).ports)

    own(layout, "c.yaml", OWNER)
    catalog = load.load_catalog(layout)

    assert catalog.models["m"].port == 18300
    assert catalog.models["c"].port == 18301
    assert catalog.ports == {"c": 18301, "m": 18300}
    assert [path.name for path in layout.state.iterdir()] == ["ports.json"]


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"m": "18300", "c": 7}'])
def test_broken_memory_of_ports_is_none(layout: Layout, text: str) -> None:
    layout.state.mkdir()
    layout.ports_file.write_text(text)
    own(layout, "m.yaml", OWNER)

    assert load.load_catalog(layout).models["m"].port == 18300


def test_no_port_is_left(layout: Layout) -> None:
    for n in range(101):
        own(layout, f"m{n:03}.yaml", OWNER)

    catalog = load.load_catalog(layout)

    assert problems(catalog) == ["m100.yaml: port: no port of 18300 to 18399 is left for it"]
    assert len(catalog.models) == 102


def test_the_owner_may_add_images(layout: Layout) -> None:
    layout.owner_images.write_text("mine: {reference: mine, pinned: false, cpu: true}\nbad: 3\n")
    own(layout, "m.yaml", OWNER.replace("demo", "mine"))

    catalog = load.load_catalog(layout)

    assert catalog.models["m"].image == Image("mine", "mine", cpu=True)
    assert [Path(p.file).name for p in catalog.problems] == ["images.yaml"]


def test_host_settings(layout: Layout) -> None:
    assert load.load_host(layout) == HostSettings()

    layout.host_file.write_text("gpu: none")

    assert load.load_host(layout) == HostSettings(gpu=Gpu.NONE)


def test_check_of_single_files(layout: Layout, tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text("{extends: a, aliases: [b], port: 18300}")
    own(layout, "c.yaml", OWNER.replace("}", ", port: 18300}", 1).replace("b, port: 18300}", "b}"))
    own(layout, "c.yaml", "{extends: a, port: 18300}")
    missing = tmp_path / "missing.yaml"

    found = load.check_files(layout, [draft, missing, layout.vendor_models / "a.yaml"])

    assert [(Path(p.file).name, p.key) for p in found] == [
        ("draft.yaml", "port"),
        ("missing.yaml", ""),
    ]

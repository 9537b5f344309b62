"""What Docker is asked for, for every model of the catalog: `UPDATE_GOLDEN=1` writes the files."""

from __future__ import annotations

import json
import os

import pytest
from catalog_shipped import ROOT, SPARK_MEMORY, models

from spark_activator.catalog.host import Gpu
from spark_activator.catalog.model import Engine, Model
from spark_activator.runner.spec import ImageFacts, Machine, container

GOLDEN = ROOT / "tests/golden/catalog"
NAMES = sorted(name for name, model in models().items() if model.engine is not Engine.PROCESS)


@pytest.mark.parametrize("name", NAMES)
def test_container_of(name: str) -> None:
    golden = GOLDEN / f"{name}.json"
    text = json.dumps(asked_for(models()[name]), indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)

    assert golden.read_text() == text


def test_no_golden_file_is_left_of_a_model_that_is_no_more() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(NAMES)


def asked_for(model: Model) -> object:
    # What vLLM's official images start by themselves; SGLang's start a shell.
    start = {Engine.VLLM: ("vllm", "serve"), Engine.SGLANG: ()}.get(model.engine, ("/engine",))
    machine = Machine(
        run="/run/spark-activator",
        upstream=f"/run/spark-activator/upstream/{model.name}/0a1b2c3d",
        group=987,
        cache="/var/lib/spark-activator/cache/image",
        files="/var/lib/spark-activator/files",
        memory=SPARK_MEMORY,
        hub="/srv/hub",
        gpu=Gpu.CDI,
        journald=True,
        # By default it is where this tree lies, which differs from machine to machine.
        bridge="/opt/spark-activator/bridge.py",
    )
    return container(model, ImageFacts("sha256:0", start), machine, config="c", activation="a")

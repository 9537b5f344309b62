"""The catalog's flags, parsed by the parser of a real `vllm serve`.

Run by `tests/run --vllm`, which names its directory in SPARK_VLLM.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from catalog_shipped import ROOT, SPARK_MEMORY, image_entries, models

from spark_activator.catalog.model import Engine, Model
from spark_activator.runner.spec import vllm_args

VLLM = os.environ.get("SPARK_VLLM")

pytestmark = [
    pytest.mark.skipif(VLLM is None, reason="needs a real vLLM: run tests/run --vllm"),
    # Importing vLLM takes ten seconds on two idle cores.
    pytest.mark.timeout(300),
]


def ask(*arguments: str, given: object = None) -> Any:
    ran = subprocess.run(
        [Path(str(VLLM)) / "env/bin/python", ROOT / "tests/vllm_parser.py", *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        # The package of ours that lies in the tree's root is not for that interpreter.
        cwd="/",
    )
    return json.loads(ran.stdout.splitlines()[-1])


def test_it_parses_every_command_line_of_the_catalog() -> None:
    served = {name: model for name, model in models().items() if model.engine is Engine.VLLM}

    assert ask("parse", given={name: stock(model) for name, model in served.items()}) == {}


def test_what_the_unit_tests_compare_with_is_what_it_says() -> None:
    known = json.loads((ROOT / "tests/catalog/vllm-0.32.0.json").read_text())

    assert ask("options") == known


def stock(model: Model) -> list[str]:
    """Leave out what only the model's own image knows, and documents."""
    assert model.image is not None
    documented = image_entries()[model.image.name].flags
    words: list[str] = []
    skipping = False
    for word in vllm_args(model, SPARK_MEMORY):
        if word.startswith("--"):
            skipping = word.partition("=")[0].replace("_", "-") in documented
        if not skipping:
            words.append(word)
    return words

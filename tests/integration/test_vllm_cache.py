"""What a real vLLM keeps for each layer of small models, beside what the unit tests compare with.

Run by `tests/run --vllm`, which names its directory in SPARK_VLLM.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
VLLM = os.environ.get("SPARK_VLLM")
CASES = ROOT / "tests/catalog/kv-configs.json"
SAID: dict[str, Any] = json.loads((ROOT / "tests/catalog/kv-0.32.0.json").read_text())

pytestmark = [
    pytest.mark.skipif(VLLM is None, reason="needs a real vLLM: run tests/run --vllm"),
    # Each loads vLLM, half a minute on two idle cores.
    pytest.mark.timeout(300),
]


@pytest.mark.parametrize("name", SAID)
def test_it_says_what_the_unit_tests_compare_with(name: str) -> None:
    ran = subprocess.run(
        [Path(str(VLLM)) / "env/bin/python", ROOT / "tests/vllm_kv.py", CASES, name],
        capture_output=True,
        text=True,
        check=True,
        # The package of ours that lies in the tree's root is not for that interpreter.
        cwd="/",
    )

    assert json.loads(ran.stdout.splitlines()[-1]) == SAID[name]

"""The patches of images/patches/ in a real vLLM, found as in the container that mounts them.

Run by `tests/run --vllm`, which names its directory in SPARK_VLLM.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from catalog_shipped import ROOT
from patched_python import lay_out

VLLM = os.environ.get("SPARK_VLLM")

pytestmark = [
    pytest.mark.skipif(VLLM is None, reason="needs a real vLLM: run tests/run --vllm"),
    # Importing vLLM takes ten seconds on two idle cores.
    pytest.mark.timeout(300),
]


def gates(environment: dict[str, str]) -> tuple[Any, str]:
    ran = subprocess.run(
        [Path(str(VLLM)) / "env/bin/python", ROOT / "tests/vllm_gate.py"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        # The package of ours that lies in the tree's root is not for that interpreter.
        cwd="/",
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1]), ran.stderr


def test_the_router_of_qwen3_next_has_a_place_for_quantized_weights(tmp_path: Path) -> None:
    found, said = gates({})
    assert found == {"gate": ["weight"], "shared_expert_gate": ["weight"]}
    assert "qwen3_next_gate" not in said

    found, said = gates(lay_out(tmp_path))
    assert found == {"gate": ["qweight", "qzeros", "scales"], "shared_expert_gate": ["weight"]}
    [line] = [line for line in said.splitlines() if line.startswith("qwen3_next_gate: ")]
    assert line.endswith("takes the checkpoint's quantization")

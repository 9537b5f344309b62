"""The patches of engines in images/patches/, found as in the container that mounts them.

Stand-ins have the shape of the modules they change; tests/integration/test_vllm_patches.py
has a real vLLM.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from catalog_shipped import ROOT, models
from patched_python import MODEL, lay_out

# How vLLM finds plugins and makes a block, in each of its processes.
ENGINE = """
from importlib.metadata import entry_points
for _ in range(2):
    for plugin in entry_points(group="vllm.general_plugins"):
        plugin.load()()
from types import SimpleNamespace
from vllm.model_executor.models import other, qwen3_next
block = qwen3_next.Qwen3NextSparseMoeBlock(SimpleNamespace(quant_config="int4"))
print(block.gate, block.shared_expert_gate, other.NAME)
"""
MODULE = """
def layer(*sizes, prefix, bias=False, quant_config=None):
    return quant_config

ReplicatedLinear = GateLinear = Another = layer

class Qwen3NextSparseMoeBlock:
    def __init__(self, vllm_config, prefix="mlp"):
        self.gate = %s
        self.shared_expert_gate = ReplicatedLinear(8, 1, quant_config=None, prefix="x")
"""
# As vLLM 0.28.0 and 0.32.0 have it.
FIRST = 'ReplicatedLinear(8, 4, bias=False, quant_config=None, prefix=f"{prefix}.gate")'
SECOND = (
    'GateLinear(\n            8,\n            4,\n            prefix=f"{prefix}.gate",\n        )'
)


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    path = tmp_path / "site/vllm/model_executor/models/qwen3_next.py"
    path.parent.mkdir(parents=True)
    path.with_name("other.py").write_text("NAME = 'other'\n")
    return path


def engine(
    standin: Path, *, patched: bool = True, script: str = ENGINE
) -> subprocess.CompletedProcess[str]:
    site = standin.parents[3]
    environment = lay_out(site.parent / "container")
    path = f"{environment['PYTHONPATH']}:{site}" if patched else str(site)
    return subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("gate", [FIRST, SECOND], ids=["0.28.0", "0.32.0"])
def test_the_gate_gets_the_quantization_and_nothing_else_does(standin: Path, gate: str) -> None:
    standin.write_text(MODULE % gate)

    # What Python compiled of the module unchanged is not taken for it.
    assert engine(standin, patched=False).stdout == "None None other\n"
    ran = engine(standin)

    assert (ran.returncode, ran.stdout) == (0, "int4 None other\n"), ran.stderr
    [line] = ran.stderr.splitlines()
    assert line == (
        f"qwen3_next_gate: {standin}: the gate of Qwen3NextSparseMoeBlock takes the "
        "checkpoint's quantization"
    )
    # Nor is the changed one kept where it is not wanted.
    assert engine(standin, patched=False).stdout == "None None other\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ((MODULE % FIRST).replace("Qwen3Next", "Other"), "__init__, found 0"),
        ((MODULE % FIRST).replace("vllm_config", "config"), "takes no vllm_config"),
        ((MODULE % FIRST).replace("self.gate", "self.router"), "self.gate, found 0"),
        (MODULE % f"{FIRST}\n        self.gate = {FIRST}", "self.gate, found 2"),
        (MODULE % FIRST.replace("ReplicatedLinear", "Another"), "found Another(8, 4"),
        (MODULE % "None", "found None"),
        (MODULE % FIRST.replace("=None", "=vllm_config.quant_config"), "no quantization, found"),
        (MODULE % SECOND.replace("prefix=", "**options, prefix="), "no quantization, found"),
    ],
)
def test_another_vllm_fails_instead_of_going_on_unchanged(
    standin: Path, text: str, why: str
) -> None:
    standin.write_text(text)

    ran = engine(standin)

    assert ran.returncode == 1
    assert ran.stdout == ""
    said = f"{standin}: cannot give the gate of Qwen3NextSparseMoeBlock the checkpoint's quant"
    first, *_, last = ran.stderr.splitlines()
    assert first.startswith(f"qwen3_next_gate: {said}")
    assert last.startswith(f"qwen3_next_gate.CannotChange: {said}")
    assert why in last


def test_a_module_that_is_there_before_the_plugin_fails_too(standin: Path) -> None:
    standin.write_text(MODULE % FIRST)

    ran = engine(standin, script=f"import vllm.model_executor.models.qwen3_next\n{ENGINE}")

    assert ran.returncode == 1
    assert "it was imported before this plugin" in ran.stderr.splitlines()[-1]


def test_a_traceback_names_the_lines_of_the_file(standin: Path) -> None:
    standin.write_text(MODULE % FIRST.replace("8, 4", "8 / 0, 4"))

    ran = engine(standin)

    number = (
        standin.read_text()
        .splitlines()
        .index(f"        self.gate = {FIRST}".replace("8,", "8 / 0,"))
        + 1
    )
    assert f'File "{standin}", line {number}, in __init__' in ran.stderr


def test_the_model_runs_on_a_release_that_it_was_made_for() -> None:
    text = (ROOT / "images/patches/qwen3_next_gate.py").read_text()
    image = models()[MODEL].image

    assert image is not None
    assert image.name == "vllm-0.28"
    assert re.search(r"0\.28\.0\s+and 0\.32\.0", text)

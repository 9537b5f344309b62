"""Properties of the plan notice when a rule of the plan is broken.

Each patch in tests/mutants breaks one; it is applied to a copy of the package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MUTANTS = sorted((ROOT / "tests" / "mutants").glob("*.patch"))
HERE = ROOT / "tests" / "unit" / "runner"
PROPERTIES = [HERE / "test_plan_histories.py", HERE / "test_plan_scenes.py"]


def copy(tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "spark_activator", tmp_path / "spark_activator", ignore=ignore)
    return tmp_path


def judge(where: Path) -> subprocess.CompletedProcess[str]:
    """Run the properties against the package in *where*, which is found first."""
    options = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=1", "--timeout=240")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *options, *PROPERTIES],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where), "SPARK_MUTANT": "1"},
        capture_output=True,
        text=True,
    )


def test_there_is_a_mutant_for_each_rule_and_more() -> None:
    assert {patch.name[:2] for patch in MUTANTS} >= {f"{rule:02}" for rule in range(1, 11)}


@pytest.mark.slow
# Up to 20 s of computing, more of them where others compute.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("patch", MUTANTS, ids=lambda patch: patch.stem)
def test_mutant_is_noticed(patch: Path, tmp_path: Path) -> None:
    where = copy(tmp_path)
    applied = subprocess.run(
        ["git", "apply", str(patch)], cwd=where, capture_output=True, text=True
    )
    assert applied.returncode == 0, applied.stderr

    result = judge(where)

    # 1 is a test that failed; anything else did not get so far.
    assert result.returncode == 1, result.stdout + result.stderr
    assert "AssertionError" in result.stdout or "assert " in result.stdout, result.stdout

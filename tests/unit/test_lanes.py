"""Tests that measure run while no other does, and those of one lane one after another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from lanes import ALONE, LANES, NODE, TOUR, lane

ROOT = Path(__file__).parents[2]
# Says when it ran, and on which worker.
MODULE = """
import json, os, time
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    began = time.monotonic()
    time.sleep({seconds})
    with open("seen", "a") as file:
        entry = [os.environ["PYTEST_XDIST_WORKER"], began, time.monotonic()]
        file.write(json.dumps([{path!r}, *entry]) + "\\n")
"""


def ran(tmp_path: Path, modules: dict[str, tuple[int, float]], workers: int) -> dict[str, list]:
    """Run modules of that many tests of that many seconds; return worker, begin and end of each."""
    for path, (count, seconds) in modules.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(MODULE.format(count=count, seconds=seconds, path=path))
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT / 'tests'}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist", f"-n{workers}",
         "--import-mode=importlib", *modules],
        cwd=tmp_path, capture_output=True, text=True,
        # Other plugins take seconds to load, in every worker.
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list] = {path: [] for path in modules}
    for line in (tmp_path / "seen").read_text().splitlines():
        path, *entry = json.loads(line)
        found[path].append(entry)
    assert {path: len(entries) for path, entries in found.items()} == {
        path: count for path, (count, _) in modules.items()
    }
    return found


def who(entries: Iterable[list]) -> set[str]:
    return {worker for worker, _, _ in entries}


# Each starts pytest once for every worker.
@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_the_last_lane_is_alone_and_has_the_node(tmp_path: Path, count: int) -> None:
    last, node = "tests/e2e/test_agents.py", "tests/e2e/test_path.py"
    others = {f"tests/unit/test_{name}.py": (4, 0.02) for name in "abc"}
    # The longest is begun when the queue is empty.
    others["tests/unit/test_d.py"] = (1, 0.5)

    seen = ran(tmp_path, {last: (3, 0.01), node: (3, 0.01), **others}, count)

    begins = min(began for _, began, _ in seen[last])
    assert all(ended < begins for path in [node, *others] for _, _, ended in seen[path])
    assert len(who(seen[last] + seen[node])) == 1
    assert len(who(entry for entries in seen.values() for entry in entries)) == count


@pytest.mark.slow
def test_little_to_do_is_done_too(tmp_path: Path) -> None:
    last, node = "tests/e2e/test_agents.py", "tests/e2e/test_path.py"

    seen = ran(tmp_path, {last: (2, 0.01), node: (1, 0.2)}, 3)

    assert len(who(seen[last] + seen[node])) == 1
    assert max(end for _, _, end in seen[node]) < min(begin for _, begin, _ in seen[last])


@pytest.mark.parametrize(
    ("nodeid", "where"),
    [
        ("tests/e2e/test_path.py::test_x[a::b]", NODE),
        ("tests/e2e/test_agents.py::test_x", ALONE),
        ("tests/e2e/test_sharing_kills.py::test_x", NODE),
        ("tests/e2e/test_install.py::test_x", TOUR),
        ("tests/integration/test_runner_guard_containers.py::test_x", ALONE),
        ("tests/integration/nginx/test_new.py::test_x", "tests/integration/nginx/test_new.py"),
        ("tests/unit/test_a.py::test_x", "tests/unit/test_a.py::test_x"),
    ],
)
def test_lane_of(nodeid: str, where: str) -> None:
    assert lane(nodeid) == where


def test_every_path_that_is_named_exists() -> None:
    for path in LANES:
        file, _, test = path.partition("::")
        found = [ROOT / file] if (ROOT / file).is_dir() else list(ROOT.glob(file + "*"))
        assert found, path
        assert not test or f"def {test}" in found[0].read_text(), path

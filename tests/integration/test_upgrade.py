"""A process keeps the code it started with, whatever happens to the link that it was found by."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import spark_activator
print("started", flush=True)
sys.stdin.readline()
from spark_activator import protocol
print(protocol.__file__)
"""


def test_modules_imported_after_an_upgrade_are_the_old_ones(tmp_path: Path) -> None:
    old, new, current = tmp_path / "old", tmp_path / "new", tmp_path / "current"
    old.mkdir()
    (old / "spark_activator").symlink_to(ROOT / "spark_activator")
    new.mkdir()
    current.symlink_to(old)
    with subprocess.Popen(
        [sys.executable, "-I", "-c", PROGRAM, str(current)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        current.unlink()
        current.symlink_to(new)

        said, _ = process.communicate("\n")

    assert process.returncode == 0
    assert str(current) not in said

"""The linters, each as a test, so that one command says whether the tree is good."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A cold mypy needs more than the limit of ordinary tests on two cores.
pytestmark = pytest.mark.timeout(400)


def tool(name: str) -> str:
    """Find *name* beside the interpreter first, so that versions match the lock of the venv."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is not installed (run: tests/run, which installs it)"
    return found


def clean(*command: str) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def is_shell(file: Path) -> bool:
    if file.suffix == ".sh":
        return True
    with file.open("rb") as stream:
        return re.match(rb"#!\s*\S*(/env )?/?(ba|da)?sh\b", stream.readline()) is not None


def texts() -> list[tuple[Path, str]]:
    found = []
    for file in tracked():
        try:
            found.append((file, file.read_text()))
        except UnicodeDecodeError:
            continue
    return found


def test_ruff_check() -> None:
    clean(tool("ruff"), "check", "--no-cache", ".")


def test_ruff_format() -> None:
    clean(tool("ruff"), "format", "--no-cache", "--check", ".")


def test_mypy() -> None:
    clean(sys.executable, "-m", "mypy")


def test_shellcheck() -> None:
    scripts = [str(file.relative_to(ROOT)) for file in tracked() if is_shell(file)]
    assert "install.sh" in scripts
    clean(tool("shellcheck"), "--external-sources", "--severity=style", *scripts)


def test_hadolint() -> None:
    files = [str(file.relative_to(ROOT)) for file in tracked() if file.name == "Dockerfile"]
    assert "images/vllm-cpu/Dockerfile" in files
    # The node's installs a word or nothing, by its suite: quotes would make it an empty word.
    clean(tool("hadolint"), "--ignore=SC2046", *files)


def test_posix_shell_only() -> None:
    # dash is /bin/sh where we run; a bashism that shellcheck lets pass fails there.
    for file in tracked():
        if is_shell(file):
            first = file.read_text().split("\n", 1)[0]
            # The second is for files that others source.
            assert first in {"#!/bin/sh", "# shellcheck shell=sh"}, f"{file}: {first}"
            clean("/bin/sh", "-n", str(file))


def test_scripts_are_executable() -> None:
    for file in tracked():
        with file.open("rb") as stream:
            starts = stream.read(2) == b"#!"
        if starts:
            assert os.access(file, os.X_OK), f"{file} has a first line for the kernel and no x bit"


def test_texts_end_with_one_newline_and_have_no_trailing_blanks() -> None:
    for file, text in texts():
        if not text or file.suffix in {".json", ".svg"}:
            continue
        assert text.endswith("\n"), f"{file}: no newline at its end"
        assert not text.endswith("\n\n"), f"{file}: blank lines at its end"
        if file.suffix != ".md":  # two blanks are a line break there
            for number, line in enumerate(text.split("\n"), 1):
                assert line == line.rstrip(), f"{file}:{number}: trailing blanks"


def test_nothing_left_of_a_merge() -> None:
    marker = re.compile(r"^(<{7}|>{7}|\|{7})( |$)", re.MULTILINE)
    for file, text in texts():
        assert not marker.search(text), f"{file}: conflict marker"


def test_no_private_places() -> None:
    # A checkout's own path, somebody's home or a package index of somebody's
    # network means that it works on one machine only.
    private = re.compile(r"/home/(?!\$|<|USER|NAME|you)[a-z]\w+/|https?://[^\s\"'`)]+/simple\b")
    for file, text in texts():
        assert str(ROOT) + "/" not in text, f"{file}: names the checkout {ROOT}"
        found = private.search(text)
        assert not found, f"{file}: {found and found.group()}"


def test_no_large_files() -> None:
    # Recordings and images of the documentation stay below this; weights do not.
    for file in tracked():
        assert file.stat().st_size < 2 << 20, f"{file}: {file.stat().st_size} bytes"


def test_commit_subjects_name_their_area() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    log = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "log", "--no-merges", "--format=%h %s"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for line in log.splitlines():
        _, _, subject = line.partition(" ")
        assert re.match(r"[\w/.,+@ -]+: \S", subject), f"no area: {line}"
        assert not subject.endswith("."), f"a subject is no sentence: {line}"

"""Who may read what runners write, whatever their umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_activator.runner import history, usage
from spark_activator.runner.board import Board
from spark_activator.runner.demand import Demand
from spark_activator.state import Phase


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """That of the runner's unit."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


async def test_state_is_for_everybody(tmp_path: Path) -> None:
    file = tmp_path / "state" / "story.json"
    board = Board(file, "story", Demand())
    board.begin()
    board.show(Phase.QUEUED)

    assert mode(file) == 0o644


def test_history_is_for_everybody(tmp_path: Path) -> None:
    file = tmp_path / "history" / "story.jsonl"
    history.append(file, {"start": 1})
    history.append(file, {"start": 2})

    assert mode(file) == 0o644


def test_usage_is_for_the_group(tmp_path: Path) -> None:
    file = tmp_path / "usage" / "story.json"
    usage.add(file, {"laptop": (1, 2, 3)})

    assert mode(file) == 0o640
    assert mode(file.parent) == 0o750

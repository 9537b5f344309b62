"""How long a start takes, from a file that may be torn."""

from __future__ import annotations

from pathlib import Path

from spark_activator.runner.history import append, read_last, typical_start


def test_only_starts_with_this_configuration_count(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.jsonl"
    for config, start in [("x", 100.0), ("y", 3.0), ("y", 9.0), ("y", None), ("y", 4.0)]:
        append(file, {"config": config, "start": start})
    with open(file, "a") as torn:
        torn.write('{"config": "y", "sta')

    assert typical_start(read_last(file), "y") == 4.0
    assert typical_start(read_last(file), "z") is None
    assert read_last(tmp_path / "none") == []


def test_old_starts_are_forgotten() -> None:
    entries = [{"config": "x", "start": start} for start in [90, 90, 90, 1, 2, 3, 4, 5]]
    assert typical_start(entries, "x") == 3

"""The file that says that the owner has the GPU."""

from pathlib import Path

import pytest

from spark_activator.runner.gpu_files import pause_path, read_pause
from spark_activator.runner.plan import Pause


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"until": null}', Pause()),
        ('{"until": 100.5}', Pause(100.5)),
        ('{"until": 100.0}', None),
        ('{"until": 99}', None),
        ('{"unt', Pause()),
        ('{"until": NaN}', Pause()),
        ("", Pause()),
    ],
)
def test_pause_is_in_force_until_its_end(tmp_path: Path, text: str, expected: Pause | None) -> None:
    pause_path(tmp_path).write_text(text)

    assert read_pause(tmp_path, 100.0) == expected


def test_without_the_file_there_is_none(tmp_path: Path) -> None:
    assert read_pause(tmp_path, 100.0) is None
    assert read_pause(tmp_path / "missing", 100.0) is None

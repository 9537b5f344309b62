"""What all integration tests share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short name, removed at the end.

    The path of a socket has at most 107 bytes, and pytest's own directories are
    longer than that where its workers run side by side.
    """
    with tempfile.TemporaryDirectory(prefix="spark-") as directory:
        yield Path(directory)

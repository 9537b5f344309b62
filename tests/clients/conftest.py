"""One stack for the tests of a module."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from front import Front, front


@pytest.fixture(scope="module")
def stack() -> Iterator[Front]:
    """The whole stack, without models yet."""
    with tempfile.TemporaryDirectory(prefix="spark-") as directory, front(Path(directory)) as stack:
        yield stack

"""How tests are spread over workers, where `tests/run` asks for several."""

from __future__ import annotations

from typing import Any

import pytest
from lanes import Lanes, turn


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """Say which tests may run side by side."""
    return Lanes(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have lanes begin in their order; without workers tests run as they were named."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: turn(item.nodeid))

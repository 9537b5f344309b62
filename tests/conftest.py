"""What holds for every test: how they are spread over workers, and what they start with."""

from __future__ import annotations

import signal
from typing import Any

import garbage
import pytest
from hypothesis import HealthCheck, settings
from lanes import Lanes, turn

# How long an example takes is the machine's affair, not ours.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Have garbage told of, and Ctrl-C heard by what tests start."""
    config.pluginmanager.register(garbage)
    # In the background a shell has it ignored, and who is started there inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """Say which tests may run side by side."""
    return Lanes(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have lanes begin in their order; without workers tests run as they were named."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: turn(item.nodeid))

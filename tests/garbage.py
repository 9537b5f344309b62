"""Who left garbage is told of it: an unclosed file or process is blamed on its own test.

Warnings are errors here, and one about an object that nobody closed comes when the object
is collected: for what refers to itself that is some test later, in an innocent one.  So
garbage is collected as each test ends.  What was alive before a test is out of the
collector's sight, which makes that a tenth of a millisecond.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Generator

import pytest

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = report.failed or item.stash.get(FAILED, False)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    gc.collect()
    gc.freeze()
    return (yield)


@pytest.fixture(autouse=True)
def _garbage(request: pytest.FixtureRequest) -> Generator[None]:
    yield
    if not request.node.stash.get(FAILED, False):
        # What other fixtures gave is kept there until the test is over.
        request.node.funcargs.clear()
        # pytest tells of it, at the end of this phase.
        gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    try:
        return (yield)
    finally:
        if item.stash.get(FAILED, False):
            # It ended in the middle, and is told of already.
            for name in ("last_exc", "last_type", "last_value", "last_traceback"):
                vars(sys).pop(name, None)
            with warnings.catch_warnings(action="ignore"):
                gc.collect()


def pytest_unconfigure() -> None:
    gc.unfreeze()

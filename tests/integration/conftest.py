"""What all integration tests share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from activator_process import NAME, ScriptedRunner, Stage, TinyEngine, answer_ok, ready_script

HERE = Path(__file__).parent
# Seconds.  They start processes, a dozen some of them, which takes the longer the more
# runs beside them; what a test waits for has limits of its own, which say what did not come.
LIMIT = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with processes time."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short name, removed at the end.

    The path of a socket has at most 107 bytes, and pytest's own directories are
    longer than that where its workers run side by side.
    """
    with tempfile.TemporaryDirectory(prefix="spark-") as directory:
        yield Path(directory)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """One model for an activator."""
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture
async def runner(stage: Stage, nursery: trio.Nursery) -> ScriptedRunner:
    """Its runner, which says at once that the engine is there."""
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    return runner


@pytest.fixture
async def engine(stage: Stage, nursery: trio.Nursery) -> TinyEngine:
    """Its engine, which answers everything with `{}`."""
    engine = TinyEngine(stage, "0a0b0c0d", answer_ok)
    await nursery.start(engine.serve)
    return engine

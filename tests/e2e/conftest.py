"""Boot the node once for all e2e tests, and show its journal when one fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from node import ROOT, Node
from stack import Stack
from witness import Witness

HERE = Path(__file__).parent
NODE = pytest.StashKey[Node]()
SET_UP = pytest.StashKey[dict[str, float]]()
CLOSING = pytest.StashKey[list[subprocess.Popen[bytes] | None]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give e2e tests time: the first one pays for booting and installing."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))


# Debian 13 brackets Ubuntu 24.04 from above, as Debian 12 does from below.
SUITES = ["bookworm", pytest.param("trixie", marks=pytest.mark.long)]


@pytest.fixture(scope="session", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    """The Debian suite that a node is made of."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def bare_node(request: pytest.FixtureRequest, suite: str) -> Iterator[Node]:
    """A booted node without the project.  SPARK_TEST_NODE=NAME takes one that runs."""
    name = os.environ.get("SPARK_TEST_NODE")
    if name:
        yield Node(name)
        return
    node = Node.boot(suite)
    request.config.stash[NODE] = node
    yield node
    # Taking it away is longer than the last test of a worker may take, which can be
    # a unit test.
    request.config.stash.setdefault(CLOSING, []).append(node.begin_close())


@pytest.fixture(scope="session")
def node(bare_node: Node) -> Node:
    """The node with the project installed by ./install.sh, no model enabled."""
    if not os.environ.get("SPARK_TEST_NODE"):
        print(bare_node.install().out)
    return bare_node


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of the node's journal to the report of a failed test."""
    report = yield
    node = item.config.stash.get(NODE, None)
    if report.failed and node is not None and HERE in item.path.parents:
        report.sections.append(("journal of the node", node.journal()))
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep what a worker of pytest-xdist says at its end."""
    told = getattr(node, "workeroutput", {}).get("set-up of the node")
    if told:
        node.config.stash[SET_UP] = told


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Wait for the nodes' end; keep how long set-up took, or tell who this worker works for."""
    config = session.config
    for closing in config.stash.get(CLOSING, []):
        assert closing is None or closing.wait() == 0
    node = config.stash.get(NODE, None)
    if node is None:
        return
    if hasattr(config, "workeroutput"):
        config.workeroutput["set-up of the node"] = node.set_up
    else:
        config.stash[SET_UP] = node.set_up


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how long set-up took: it does not count as testing."""
    set_up = config.stash.get(SET_UP, None)
    if set_up is not None:
        times = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in set_up.items())
        terminalreporter.write_line(f"set-up of the node: {times}")


@pytest.fixture(scope="session")
def stack(node: Node) -> Stack:
    """The installed node with the demo engine's image in it."""
    subprocess.run([ROOT / "tests/setup_engine.sh", "demo"], check=True)
    node.load_image("spark-demo")
    return Stack(node)


@pytest.fixture(scope="session")
def witness(stack: Stack) -> Witness:
    """Who has seen the node's journal since it booted."""
    return Witness(stack.node)


@pytest.fixture(autouse=True)
def invariants(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test on the shared node, what must hold did hold."""
    if "stack" not in request.fixturenames:
        yield
        return
    witness: Witness = request.getfixturevalue("witness")
    yield
    wrong = witness.look()
    assert not wrong, "\n".join(wrong)

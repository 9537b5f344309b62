"""From a fresh clone on a machine with nothing but git and certificates, nothing else typed."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
import registries
from node import PATIENCE, ROOT, Node, start

pytestmark = [pytest.mark.long, pytest.mark.timeout(5400)]
CLONE = "/root/spark-activator"
# Of what a command printed; the end says what came of it.
LAST = 10


@pytest.fixture(scope="module")
def bare() -> Iterator[Node]:
    """A bare machine with a clone of what is committed."""
    suite = os.environ.get("SPARK_TEST_SUITE", "bookworm")
    subprocess.run([ROOT / "tests/setup_images.sh", suite], check=True)
    subprocess.run(
        ["docker", "build", "--quiet", "--build-arg", f"SUITE={suite}", "--tag",
         f"spark-test-bare:{suite}", ROOT / "tests/bare"],
        check=True, env=os.environ | {"DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    # Named like a node, for `close` removes the volume of the same name.
    machine = Node(f"spark-test-bare-{uuid.uuid4().hex[:8]}")
    start(
        machine.name, f"spark-test-bare:{suite}", "--init",
        f"--volume={ROOT}:/source:ro",
        # For tests/run's own dockerd, as on a disk.
        f"--volume={machine.name}:/root/.cache",
    )  # fmt: skip
    try:
        machine.trust()
        machine.exec(f"git -c safe.directory='*' clone --quiet /source {CLONE}")
        yield machine
    finally:
        machine.close()


def run(machine: Node, command: str, *, timeout: float) -> str:
    result = machine.exec(
        f"cd {CLONE} && {command} 2>&1",
        env=registries.environment(), timeout=timeout, check=False,
    )  # fmt: skip
    last = "\n".join(result.out.splitlines()[-LAST:])
    print(f"$ {command}\n{last}")
    assert result.rc == 0, result.out
    return result.out


def leftovers(machine: Node) -> str:
    """What runs, is mounted and is a cgroup: nothing is added to it."""
    return machine.exec(
        "for f in /proc/[0-9]*/stat; do"
        " read -r pid comm state rest <$f || continue; [ $state = Z ] || echo $comm; done"
        " 2>/dev/null | grep -v -e '(sh)' -e '(sort)' -e '(grep)' | sort;"
        " cut -d ' ' -f 2,3 /proc/mounts | sort; find /sys/fs/cgroup -name 'spark-demo*'"
    ).out


def test_demo(bare: Node, capsys: pytest.CaptureFixture[str]) -> None:
    before = Counter(leftovers(bare).splitlines())

    with capsys.disabled():
        out = run(bare, "./install.sh --demo --once", timeout=900)

    for label in ("listening", "cold start", "streamed", "warm", "idle exit", "nothing", "ended"):
        assert f"\n    {label} " in out, out
    # Another run's tour on the same host is in the same tree of cgroups, until it ends.
    deadline = time.monotonic() + PATIENCE
    while added := Counter(leftovers(bare).splitlines()) - before:
        assert time.monotonic() < deadline, added


def test_the_whole_test_run(bare: Node, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        out = run(bare, "./tests/run", timeout=5400)

    last = out.splitlines()[-1]
    assert "passed" in last
    assert "failed" not in last

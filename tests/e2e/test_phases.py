"""What `spark-model status` says in each of the eleven phases; the table is printed."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from node import PATIENCE
from stack import PROC, Demo, Stack, finish, wait_for_stream

from spark_activator.runner.memory_values import parse_meminfo

PHASES = (
    "queued", "memory", "container", "weights", "compile", "graphs", "warmup",
    "ready", "draining", "stopping", "reclaiming",
)  # fmt: skip
GIB = 1 << 30
NAME = "phases"

SEEN = "/root/phases.seen"
# Says what a person sees, a line each time.
LOOK = f"""
    printf '%s\\037%s\\037%s\\n' \\
        "$(spark-model status {NAME} | tr '\\n' '|')" \\
        "$(systemctl show -P StatusText spark-runner@{NAME}.service)" \\
        "$(spark-model status {NAME} --json | tr '\\n' ' ')" >>{SEEN}
"""
# Really takes memory, until its standard input ends.
HOLD = """
fallocate -l {bytes} /run/phases.held
echo taken
cat >/dev/null
rm /run/phases.held
"""


@contextmanager
def holding(stack: Stack, size: int) -> Iterator[None]:
    """Take *size* bytes of the node's memory for the duration of the block."""
    _, free = available(stack)
    command = ["docker", "exec", "-i", stack.node.name, "sh", "-c", HOLD.format(bytes=size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while available(stack)[1] > free - size // 2:
            stack.node.exec("sleep 0.2")  # own_memory.py has not looked yet
        yield
        process.communicate()


def available(stack: Stack) -> tuple[int, int]:
    """The node's memory: in all and available, in bytes."""
    return parse_meminfo(stack.node.exec(f"cat {PROC}/meminfo").out)[:2]


def test_status_names_each_phase_and_what_is_waited_for(stack: Stack) -> None:
    total, free = available(stack)
    # Fits now, and does not while 3 GiB of it are taken.
    need = free - min(8 * GIB, total // 8) - GIB
    # It goes when its client does, and not before.
    holder = Demo("phases-holder", 18371, ("--tokens-per-second", "20"), idle=600, drain=600)
    slow = Demo(
        NAME,
        18372,
        (
            # For each to be seen: a look takes a second, and more on a busy machine.
            "--weights-time", "5", "--compile-time", "5", "--graphs-time", "5",
            "--warmup-time", "5", "--tokens-per-second", "10", "--shutdown-timeout", "5",
        ),
        idle=600,
        drain=5,
        extra={
            "memory": f"{need // (1 << 20)}MiB",
            # An image that takes its time until it says its first word.
            "container": {
                "entrypoint": [
                    "sh", "-c", 'sleep 5; exec python3 -m spark_activator.demo "$@"', "sh",
                ]
            },
        },
    )  # fmt: skip
    with stack.sharing(f"{need // (1 << 20)}MiB"), stack.enabled(holder, slow):
        stack.node.exec(f": >{SEEN}")
        first = stack.asking(holder.url, holder.name, "--max-tokens", "100000")
        wait_for_stream(first)
        with stack.meanwhile(LOOK):
            second = stack.asking(slow.url, NAME, "--max-tokens", "100000")
            wait_until_seen(stack, "queued")
            with holding(stack, 3 * GIB):
                stack.node.exec(f"pkill -f '[c]lient.py .* {holder.name}'")
                wait_until_seen(stack, "memory")
            wait_for_stream(second)
            wait_until_seen(stack, "ready")
            with holding(stack, 3 * GIB):
                stack.node.exec(f"spark-model stop {NAME}", timeout=180)
        finish(first)
        finish(second)
        seen = read_watch(stack)

    print()
    for phase in PHASES:
        shown, unit = seen.get(phase, ("-", "-"))
        print(f"{phase:10}  {unit}\n{'':10}  {shown}")
    assert [phase for phase in PHASES if phase not in seen] == []
    # Each differs, names its phase, and systemctl's sentence is of the same phase.
    assert len({shown for shown, _ in seen.values()}) == len(PHASES)
    for phase, (shown, unit) in seen.items():
        assert phase in shown
        assert unit.startswith(phase)
        assert phase == "ready" or "Waiting for" in shown or "Because" in shown


def wait_until_seen(stack: Stack, phase: str) -> None:
    """Wait until somebody who looks over and over has seen that phase."""
    deadline = time.monotonic() + PATIENCE
    while phase not in (seen := read_watch(stack)):
        assert time.monotonic() < deadline, f"'{phase}' is not among {sorted(seen)}"
        stack.node.exec("sleep 0.2")


def read_watch(stack: Stack) -> dict[str, tuple[str, str]]:
    """Sort what was seen by phase, where all three ways of looking met the same one."""
    seen: dict[str, tuple[str, str]] = {}
    for line in stack.node.exec(f"cat {SEEN}").out.splitlines():
        shown, _, rest = line.partition("\x1f")
        unit, _, told = rest.partition("\x1f")
        try:
            body = json.loads(told)
        except ValueError:
            continue  # not whole yet
        phase = (body["state"] or {}).get("phase")
        if phase and re.search(rf"Phase: {phase}\b", shown) and unit.startswith(phase):
            seen[phase] = (" ".join(shown.split()), unit)
    return seen

"""What `spark-model status` says in each of the eleven phases; the table is printed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from stack import PROC, Demo, Stack, finish, wait_for_stream

from spark_activator.runner.memory_values import parse_meminfo

PHASES = (
    "queued", "memory", "container", "weights", "compile", "graphs", "warmup",
    "ready", "draining", "stopping", "reclaiming",
)  # fmt: skip
GIB = 1 << 30
NAME = "phases"

# Says what a person sees, over and over, a line each time.
WATCH = f"""
while :; do
    printf '%s\\037%s\\037%s\\n' \\
        "$(spark-model status {NAME} | tr '\\n' '|')" \\
        "$(systemctl show -P StatusText spark-runner@{NAME}.service)" \\
        "$(spark-model status {NAME} --json | tr '\\n' ' ')"
done >/root/phases.seen
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
    command = ["docker", "exec", "-i", stack.node.name, "sh", "-c", HOLD.format(bytes=size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


def available(stack: Stack) -> tuple[int, int]:
    """The node's memory: in all and available, in bytes."""
    return parse_meminfo(stack.node.exec(f"cat {PROC}/meminfo").out)[:2]


def test_status_names_each_phase_and_what_is_waited_for(stack: Stack) -> None:
    total, free = available(stack)
    # Fits now, and does not while 3 GiB of it are taken.
    need = free - min(8 * GIB, total // 8) - GIB
    holder = Demo("phases-holder", 18371, ("--tokens-per-second", "20"), idle=2)
    slow = Demo(
        NAME,
        18372,
        (
            "--weights-time", "3", "--compile-time", "3", "--graphs-time", "3",
            "--warmup-time", "3", "--tokens-per-second", "10", "--shutdown-timeout", "4",
        ),
        idle=30,
        drain=3,
        extra={
            "memory": f"{need // (1 << 20)}MiB",
            # An image that takes its time until it says its first word.
            "container": {
                "entrypoint": [
                    "sh", "-c", 'sleep 3; exec python3 -m spark_activator.demo "$@"', "sh",
                ]
            },
        },
    )  # fmt: skip
    with stack.sharing(f"{need // (1 << 20)}MiB"), stack.enabled(holder, slow):
        watcher = stack.node.start(WATCH)
        try:
            first = stack.asking(holder.url, holder.name, "--max-tokens", "200")
            wait_for_stream(first)
            second = stack.asking(slow.url, NAME, "--max-tokens", "2000")
            stack.wait_for_phase(NAME, "queued")
            with holding(stack, 3 * GIB):
                stack.wait_for_phase(NAME, "memory")
                stack.node.exec("sleep 2")  # so that somebody can look
            wait_for_stream(second)
            stack.node.exec("sleep 2")
            with holding(stack, 3 * GIB):
                stack.node.exec(f"spark-model stop {NAME}", timeout=90)
        finally:
            watcher.terminate()
        finish(first)
        finish(second)
        watcher.communicate()
        seen = read_watch(stack.node.exec("cat /root/phases.seen").out)

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


def read_watch(output: str) -> dict[str, tuple[str, str]]:
    """Sort what was seen by phase, where all three ways of looking met the same one."""
    seen: dict[str, tuple[str, str]] = {}
    for line in output.splitlines():
        shown, _, rest = line.partition("\x1f")
        unit, _, told = rest.partition("\x1f")
        try:
            body = json.loads(told)
        except ValueError:
            continue  # a command that was cut when the watch ended
        phase = (body["state"] or {}).get("phase")
        if phase and re.search(rf"Phase: {phase}\b", shown) and unit.startswith(phase):
            seen[phase] = (" ".join(shown.split()), unit)
    return seen

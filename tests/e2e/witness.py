"""Asks the node what happened since the last test, and has it checked (invariants.py)."""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

from invariants import Checker, Event, read_lines
from node import Node

# Where client.py says how each of its requests ended.
TOLD = "/root/told.jsonl"
# What journald needs to write down what was said, with much to spare.
SETTLED_WITHIN = 30.0

# Run inside, as root, in the way in which runners look: under the plan's lock.
_HELD = """
import fcntl, glob, json, os
os.makedirs("/run/spark-activator/gpu", exist_ok=True)
plan = os.open("/run/spark-activator/gpu/plan.lock", os.O_RDONLY | os.O_CREAT, 0o660)
fcntl.flock(plan, fcntl.LOCK_EX)
held = {}
for path in glob.glob("/run/spark-activator/gpu/lease-*.lock"):
    with open(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = path.removesuffix("lock") + "json"
            body = json.load(open(text)) if os.path.exists(text) else {}
            name = path.rpartition("/lease-")[2].removesuffix(".lock")
            held[name] = [body.get("memory"), bool(body.get("foreign"))]
print(json.dumps(held))
"""
# A process that is kept waiting between the two clocks finds too little.
_OFFSET = """
import time
print(max(time.clock_gettime(time.CLOCK_BOOTTIME) - time.time() for _ in range(100)))
"""


class Witness:
    """What the node did, from one look to the next."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._checker = Checker()
        self._offset = float(node.exec(f"python3 -c {shlex.quote(_OFFSET)}").out)
        self._cursor = ""

    def look(self) -> list[str]:
        """Return all that must not be, since the last look."""
        told = self._told()
        wrong = self._checker.take_in(self._read())
        deadline = time.monotonic() + SETTLED_WITHIN
        # The clients may be faster than journald, and a lease may be on its way.
        while differs := [*self._checker.compare(told), *self._compare_leases()]:
            if time.monotonic() > deadline:
                break
            self._node.exec("sleep 0.2")
            wrong += self._checker.take_in(self._read())
        return [*wrong, *differs, *self._torn_history()]

    def _read(self) -> list[Event]:
        since = f"--after-cursor={shlex.quote(self._cursor)}" if self._cursor else "-b"
        fields = "MESSAGE,MESSAGE_ID,UNIT,_SYSTEMD_UNIT,_PID,_SOURCE_REALTIME_TIMESTAMP"
        out = self._node.exec(
            f"journalctl --sync; journalctl {since} -o json --output-fields={fields}"
            " -u 'spark-model@*' -u 'spark-runner@*'",
            timeout=120,
        ).out
        if lines := out.splitlines():
            self._cursor = json.loads(lines[-1])["__CURSOR"]
        return read_lines(out, self._offset)

    def _told(self) -> list[dict[str, Any]]:
        """What the clients inside say of their requests (client.py)."""
        moved = f"mv {TOLD} {TOLD}.read 2>/dev/null && cat {TOLD}.read"
        lines = self._node.exec(moved, check=False).out.splitlines()
        return [json.loads(line) for line in lines]

    def _compare_leases(self) -> list[str]:
        held = json.loads(self._node.exec(f"python3 -c {shlex.quote(_HELD)}").out)
        ours = {name for name, (_, foreign) in held.items() if not foreign}
        known = set(self._checker.leases)
        wrong = []
        if ours != known:
            wrong.append(f"held are the leases of {sorted(ours)}, the journal says {sorted(known)}")
        total = sum(memory or 0 for memory, _ in held.values())
        if self._checker.budget and ours and total > self._checker.budget:
            wrong.append(f"{total} of {self._checker.budget} bytes are leased: {held}")
        return wrong

    def _torn_history(self) -> list[str]:
        files = "cat /var/lib/spark-activator/history/* 2>/dev/null"
        wrong = []
        for line in self._node.exec(files, check=False).out.splitlines():
            try:
                json.loads(line)
            except ValueError:
                wrong.append(f"a line of a history is no JSON: {line[:200]!r}")
        return wrong

"""Say of a node's memory what its own engines take, as if the machine were the node's alone.

Runs inside the node for as long as it does.  `/proc/meminfo` is of the whole machine:
what others take and give back meanwhile would be waited for as if an engine had had it.
Engines are what runs in a container, or as a unit of its own, and what they and a test
keep in `/run` counts as theirs.

usage: own_memory.py DIRECTORY
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

# Runners look four times a second and oftener.
EVERY = 0.1


def of_engines(proc: Path) -> int:
    """Return the KiB of memory that engines have of their own."""
    return sum(of_process(entry) for entry in proc.iterdir() if entry.name.isdigit())


def of_process(entry: Path) -> int:
    """Return the KiB of a process's own memory; none of one that is no engine."""
    try:
        fields = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines())
        nested = len(fields["NSpid"].split()) > 1
        if not nested and "spark-engine@" not in (entry / "cgroup").read_text():
            return 0
        return sum(int(fields.get(key, "0 kB").split()[0]) for key in ("RssAnon", "RssShmem"))
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has gone


def in_run() -> int:
    """Return the KiB of the files in `/run`, which are in memory."""
    run = os.statvfs("/run")
    return (run.f_blocks - run.f_bfree) * run.f_frsize // 1024


def main(directory: Path) -> None:
    """Write the directory's `meminfo` anew until the process is ended."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    total, free = (
        next(int(line.split()[1]) for line in lines if line.startswith(name))
        for name in ("MemTotal:", "MemAvailable:")
    )
    before = in_run()
    directory.mkdir(parents=True, exist_ok=True)
    while True:
        left = max(0, free - of_engines(Path("/proc")) - (in_run() - before))
        beside = directory / "meminfo.new"
        beside.write_text(f"MemTotal: {total} kB\nMemFree: {left} kB\nMemAvailable: {left} kB\n")
        beside.rename(directory / "meminfo")
        time.sleep(EVERY)  # noqa: TID251  # nothing tells when memory is taken


if __name__ == "__main__":
    main(Path(sys.argv[1]))

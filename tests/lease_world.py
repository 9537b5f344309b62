"""Programs under a lease, as a person starts them, in a `World` of runners."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from runner_world import LIMIT, ROOT, World


def environment(world: World) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, **world.environment}


def start(world: World, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """`spark-model` with *arguments*, both outputs piped."""
    return subprocess.Popen(
        [sys.executable, "-m", "spark_activator", *arguments],
        env=environment(world),
        text=True,
        **{
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **options,
        },
    )


def call(world: World, *arguments: str, limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
    process = start(world, *arguments)
    try:
        out, err = process.communicate(timeout=limit)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def shown(world: World) -> dict[str, Any]:
    """`spark-model lease show --json`."""
    result = call(world, "lease", "show", "--json")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))

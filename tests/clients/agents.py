"""Agents from npm, unchanged: how each is configured for our endpoint, and one turn of it.

Each runs in a home of its own and reaches the loopback alone, so that it neither
finds an account of this machine's user nor asks the world for anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from spark_activator.catalog.model import Client, Engine, Lifecycle, Model, Source
from spark_activator.render.clients.texts import CLIENTS
from spark_activator.render.clients.told import KEY, Told, choose

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
BIN = CACHE / "spark-activator-tests/npm/node_modules/.bin"
# Of the environment that has LiteLLM.
PYTHON = CACHE / "spark-activator-tests/clients/bin/python"
# What the shell tool of an agent is told to do, and what shows that it did.
TOUCHED = "touched-by-the-agent"
# OpenCode puts an argument with a space in it into quotes.
SPACE = "\\u0020"
# No agent may find its way out: nothing listens there.
NO_PROXY_OUT = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of an agent: a prompt that has it call a tool, and then talk.

    Attributes:
        command: What to run.
        files: Written into its home before, by path.
        environment: In addition to the bare one.
    """

    command: list[str]
    files: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def told(url: str, big: str, small: str) -> Told:
    """Say what `spark-model client` would, of two models with room for an agent's long prompts."""
    model = Model(
        name=big,
        port=18300,
        engine=Engine.CONTAINER,
        source=Source("demo/model"),
        memory=1 << 30,
        context=200000,
        client=Client(output=1000),
    )
    utility = replace(model, name=small, port=18301, lifecycle=Lifecycle.UTILITY)
    found = choose([model, utility], url=url)
    assert found is not None
    assert (found.main.name, found.small.name) == (big, small)
    return found


def exported(text: str) -> dict[str, str]:
    """Have a shell read *text*, and return the variables that it exports."""
    told = subprocess.run(
        ["env", "-i", "sh", "-c", f"{text}\nenv -0"], check=True, capture_output=True, text=True
    ).stdout
    pairs = (entry.partition("=") for entry in told.split("\0") if entry)
    return {name: value for name, _, value in pairs if name not in ("PWD", "SHLVL", "_")}


def opencode(url: str, big: str, small: str) -> Turn:
    """OpenCode talks chat, with a small model for titles."""
    config = json.loads(CLIENTS["opencode"].text(told(url, big, small))) | {
        "permission": {"bash": "allow"},
        "autoupdate": False,
        "share": "disabled",
    }
    call = {"command": f"touch {TOUCHED}", "description": "leave a mark"}
    spaceless = json.dumps(call, separators=(",", ":")).replace(" ", SPACE)
    return Turn(
        [str(BIN / "opencode"), "run", "--print-logs", "call", "bash", spaceless],
        {".config/opencode/opencode.json": json.dumps(config)},
        {KEY: "none", "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"},
    )


def codex(url: str, big: str, small: str) -> Turn:
    """Codex talks responses."""
    # Settings of the whole come before its tables.
    config = f"""
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
{CLIENTS["codex"].text(told(url, big, small))}
[analytics]
enabled = false
"""
    call = {"cmd": f"touch {TOUCHED}"}
    return Turn(
        [
            str(BIN / "codex"),
            "exec",
            "--skip-git-repo-check",
            f"call exec_command {json.dumps(call)}",
        ],
        {".codex/config.toml": config},
        {KEY: "none"},
    )


def claude(url: str, big: str, small: str) -> Turn:
    """Claude Code talks Anthropic's messages, with a small model for chores."""
    call = {"command": f"touch {TOUCHED}", "description": "leave a mark"}
    return Turn(
        [
            str(BIN / "claude"),
            "-p",
            f"call Bash {json.dumps(call)}",
            "--allowedTools",
            "Bash",
            "--output-format",
            "json",
        ],
        {},
        {
            **exported(CLIENTS["claude-code"].text(told(url, big, small))),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
    )


AGENTS: dict[str, Callable[[str, str, str], Turn]] = {
    "opencode": opencode,
    "codex": codex,
    "claude": claude,
}


def missing(name: str) -> str | None:
    """Say why *name* cannot be run here, or None."""
    if shutil.which("node") is None:
        return "needs node and npm"
    if not (BIN / name).exists():
        return f"{name} is not installed: tests/setup_clients.sh does"
    return None


def start(turn: Turn, home: Path) -> subprocess.Popen[str]:
    """Begin *turn* in *home*; what it prints comes on its standard output."""
    for name, text in turn.files.items():
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    work = home / "work"
    work.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=work, check=True)
    return subprocess.Popen(
        turn.command,
        cwd=work,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "HTTPS_PROXY": NO_PROXY_OUT,
            "NO_PROXY": "127.0.0.1,localhost",
            **turn.environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """End it, with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def touched(home: Path) -> bool:
    """Whether the tool was run."""
    return (home / "work" / TOUCHED).exists()

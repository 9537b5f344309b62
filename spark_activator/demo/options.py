"""The command line of the demo engine, as `--help` shows it."""

from __future__ import annotations

import argparse
import re

# The phases of a load, in the order in which vLLM goes through them.
PHASES = ("weights", "compile", "graphs")

_UNITS = {
    "": 1,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    options = argparse.ArgumentParser(
        prog="python3 -m spark_activator.demo",
        description="A small OpenAI-compatible engine that needs no GPU, and fails when told to.",
        allow_abbrev=False,
    )
    serving = options.add_argument_group("serving")
    serving.add_argument("--socket", metavar="PATH", help="unix socket to make after loading")
    serving.add_argument("--host", default="127.0.0.1", help="for --port (default: %(default)s)")
    serving.add_argument("--port", type=_count, help="TCP port to serve on as well, or instead")
    serving.add_argument("--served-model-name", nargs="+", default=["demo"], metavar="NAME")
    serving.add_argument(
        "--serves",
        choices=("all", "text", "pooling", "audio"),
        default="all",
        help="the rest of the API is not there, as with vLLM's models of one kind"
        " (default: %(default)s)",
    )
    serving.add_argument("--max-model-len", type=_positive, metavar="TOKENS")
    serving.add_argument(
        "--max-concurrent",
        type=_positive,
        default=256,
        metavar="N",
        help="requests that generate at once; others wait (default: %(default)s)",
    )
    serving.add_argument(
        "--shutdown-timeout",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="how long SIGTERM lets running requests finish (default: 0)",
    )
    # uvicorn's own default.
    serving.add_argument("--keep-alive-timeout", type=_seconds, default=5.0, metavar="S")
    serving.add_argument("--no-access-log", dest="access_log", action="store_false")
    loading = options.add_argument_group("loading")
    loading.add_argument("--load-time", type=_seconds, default=0.0, metavar="S")
    loading.add_argument("--shards", type=_positive, default=4, metavar="N")
    # How a cold start of vLLM on a GB10 is made up, roughly.
    for phase, share in zip(PHASES, (0.6, 0.25, 0.15), strict=True):
        loading.add_argument(
            f"--{phase}-share",
            type=_seconds,
            default=share,
            metavar="X",
            help="its share of the load time (default: %(default)s)",
        )
        loading.add_argument(
            f"--{phase}-time", type=_seconds, metavar="S", help="seconds, whatever the load time"
        )
    _add_text(options)
    _add_faults(options)
    return options


def _add_text(options: argparse.ArgumentParser) -> None:
    text = options.add_argument_group("answers")
    text.add_argument("--text", choices=("story", "echo"), default="story")
    text.add_argument(
        "--tokens-per-second",
        type=_seconds,
        default=0.0,
        metavar="N",
        help="of each request; 0 is as fast as it goes (default: 0)",
    )
    text.add_argument(
        "--max-tokens",
        type=_positive,
        default=64,
        metavar="N",
        help="length of an answer that is not cut earlier (default: %(default)s)",
    )
    text.add_argument(
        "--reasoning",
        type=_count,
        default=0,
        metavar="N",
        help="tokens of thought before an answer, unless chat_template_kwargs has"
        " enable_thinking: false (default: 0)",
    )
    text.add_argument("--first-token-delay", type=_seconds, default=0.0, metavar="S")
    text.add_argument(
        "--warmup-time",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="what the very first request waits on top of that",
    )


def _add_faults(options: argparse.ArgumentParser) -> None:
    faults = options.add_argument_group("faults")
    faults.add_argument("--never-ready", action="store_true", help="load, then make no socket")
    faults.add_argument("--exit-at-start", type=_count, metavar="STATUS")
    faults.add_argument(
        "--exit-phase",
        choices=("start", *PHASES),
        default="start",
        help="where --exit-at-start happens (default: at once)",
    )
    faults.add_argument(
        "--exit-message",
        default="RuntimeError: told to exit",
        metavar="TEXT",
        help="last line before --exit-at-start",
    )
    faults.add_argument("--stall-phase", choices=PHASES, help="say nothing more in this phase")
    faults.add_argument("--ignore-sigterm", action="store_true")
    faults.add_argument(
        "--fork-child",
        choices=("group", "session"),
        help="leave a child behind, in our process group or a session of its own",
    )
    faults.add_argument(
        "--die-after-tokens",
        type=_count,
        metavar="N",
        help="exit hard in the first request that gets further than this",
    )
    faults.add_argument(
        "--dead-health",
        choices=("error", "hang"),
        help="healthy to look at, but every request fails or gets no answer",
    )
    faults.add_argument(
        "--dead-after-requests",
        type=_count,
        default=0,
        metavar="N",
        help="requests that --dead-health still serves (default: 0)",
    )
    faults.add_argument(
        "--health-delay",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="how long /health says 503 after the start",
    )
    faults.add_argument(
        "--hold-memory",
        type=size,
        default=0,
        metavar="SIZE",
        help="memory to really use, from the weights on",
    )
    faults.add_argument(
        "--memory-rate",
        type=size,
        default=0,
        metavar="SIZE",
        help="how much of it is taken a second; 0 is a share with each shard (default: 0)",
    )
    faults.add_argument(
        "--keep-memory",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="how long a child keeps that memory after the engine's end",
    )
    faults.add_argument(
        "--allow-faults",
        action="store_true",
        help="obey 'fault: die|cut|hang after N' and 'fault: status N' in prompts",
    )


def size(text: str) -> int:
    """Read a number of bytes: '512MiB', '2GB' or plain."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text)
    if match is None or match[2] not in _UNITS:
        raise argparse.ArgumentTypeError(f"expected a size like 512MiB, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return value


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"expected a number, 0 or more, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("expected a number above 0")
    return int(text)

"""What an engine's log says of why it does not start.

The root cause is often hundreds of lines above the end of a log, so lines are
looked at as they come, and the first clue of a kind is kept.
"""

from __future__ import annotations

import re

from spark_activator.runner.breaker import Cause

# What containers say of how they ended; see `engine.Engine.follow`.
OUT_OF_MEMORY = "was killed because the host ran out of memory"

# More of it would help: torch, CUDA and the driver; vLLM before it loads; and
# what the kernel says of a process that asked for too much.
_MEMORY = re.compile(
    r"CUDA (?:error: )?out of memory|OutOfMemoryError|cudaErrorMemoryAllocation"
    r"|CUDA_ERROR_OUT_OF_MEMORY|NV_ERR_NO_MEMORY"
    r"|Free memory on device .*less than desired|\bMemoryError\b|Cannot allocate memory"
)
# The engine says that its own settings cannot work, whatever the machine has
# free: pydantic's words for a wrong value, and a context that does not fit into
# the lease.
_SETTINGS = re.compile(
    r"validation errors? for \w*(?:Config|Args)\b"
    r"|No available memory for the cache blocks"
    r"|is larger than the (?:available KV cache memory|maximum number of tokens that can be stored)"
    r"|Please try to increase --mem-fraction-static"
)
# argparse's last line.  It can be quoted in any log, so it counts only together
# with argparse's exit status.  How long the engine lived says nothing: vLLM
# imports for half a minute before it looks at its arguments.
_USAGE = re.compile(
    r": error: (?:argument |unrecognized arguments|the following arguments are required"
    r"|ambiguous option|one of the arguments|invalid choice)"
)
USAGE_STATUS = 2
# huggingface_hub and transformers without a network.
_WEIGHTS = re.compile(
    r"LocalEntryNotFoundError|outgoing traffic has been disabled|is not a local folder"
    r"|We couldn't connect to 'https://huggingface\.co'|Cannot find any model weights"
)
# No such clue is in the rest of a line: a line may be a whole prompt.
LOOKED_AT = 2000


class Clues:
    """Takes in a log's lines, and judges a start that failed."""

    def __init__(self) -> None:
        self._first: Cause | None = None
        self._usage = False

    def hear(self, line: str) -> None:
        """Take in one line."""
        line = line[:LOOKED_AT]
        self._usage = self._usage or _USAGE.search(line) is not None
        if self._first is None:
            for cause, pattern in (
                (Cause.MEMORY, _MEMORY),
                (Cause.SETTINGS, _SETTINGS),
                (Cause.WEIGHTS, _WEIGHTS),
            ):
                if pattern.search(line):
                    self._first = cause
                    return

    def judge(self, code: str, how: str) -> Cause:
        """Say why the start failed that clients were refused with *code*.

        Args:
            code: A key of `errors.REFUSALS`.
            how: How the engine ended, in the words of `engine.Engine.follow`; empty if it did not.
        """
        match code:
            case "image_missing":
                return Cause.IMAGE
            case "weights_missing":
                return Cause.WEIGHTS
            case "memory_short":
                return Cause.MEMORY
            case "start_timeout":
                # It was still at it, whatever it complained of.
                return Cause.OTHER
        if OUT_OF_MEMORY in how:
            return Cause.MEMORY
        if self._usage and how == exited(USAGE_STATUS):
            return Cause.SETTINGS
        return self._first or Cause.OTHER


def exited(status: object) -> str:
    """Say how an engine ended that ended by itself."""
    return f"exited with status {status}"

"""The engine's log: lines on standard error, in the shapes that vLLM and uvicorn print."""

from __future__ import annotations

import contextlib
import os
import time


def say(line: str) -> None:
    """Print *line* at once, whole, or not at all.

    Who reads the log may be gone; an engine serves on without it.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode("utf-8", "replace"))


def info(module: str, message: str) -> None:
    """Print *message* as vLLM's logger does."""
    say(f"INFO {time.strftime('%m-%d %H:%M:%S')} [{module}] {message}")

"""Small text files: read where they are, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def read(path: Path) -> str | None:
    """Read *path*, or say None where there is no such file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace *path* by *text* in one step; its directory is made where it is missing.

    The file gets *mode* whatever the umask says, and the group of its
    directory where that has the set-group-id bit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that nobody who lists the directory takes it for a model's file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(fd, mode)
            # A file that is named but empty after a power cut disables a model.
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def remove(path: Path) -> None:
    """Remove *path*, and its directory where that was its last file."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()

"""Small text files: read where they are, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
from collections.abc import Iterator
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# What is wrong with a path, or the disk below it; no fault of a program.
UNUSABLE = (
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.EIO,
)  # fmt: skip


def read(path: Path, *, errors: str = "strict") -> str | None:
    """Read *path*, or say None where there is no such file."""
    try:
        return path.read_text(errors=errors)
    except FileNotFoundError:
        return None


def read_ours(path: Path) -> str | None:
    """Read *path*, which a program of ours wrote, as `read` does.

    What is no text in it, as a disk may leave it, is a sign that whoever parses it refuses.
    """
    return read(path, errors="replace")


def write(path: Path, text: str, *, mode: int = 0o644, group: str | None = None) -> None:
    """Replace *path* by *text* in one step; its directory is made where it is missing.

    The file gets *mode* whatever the umask says.  Its group is *group*, where
    root writes it and there is one of that name, else that of its directory
    where that has the set-group-id bit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that nobody who lists the directory takes it for a model's file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w") as stream:
            stream.write(text)
            stream.flush()
            if group is not None and os.geteuid() == 0:
                with contextlib.suppress(KeyError):
                    os.fchown(fd, -1, grp.getgrnam(group).gr_gid)
            os.fchmod(fd, mode)
            # A file that is named but empty after a power cut disables a model.
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have *path* to oneself for the duration of the block, among those who ask for it here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside it: a file that is replaced is no lock.
    lock = path.with_name(f".{path.name}.lock")
    fd = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def may_write(directory: Path) -> bool:
    """Whether files may be made in *directory*, which is made for them where it is missing."""
    there = directory
    while not there.exists():
        there = there.parent
    return os.access(there, os.W_OK | os.X_OK)


def remove(path: Path) -> None:
    """Remove *path*, and its directory where that was its last file."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()

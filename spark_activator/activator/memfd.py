"""Bytes in a file of the kernel's memory, which has no name and can be handed on."""

from __future__ import annotations

import errno
import os


def create(data: bytes = b"") -> int:
    """Return the descriptor of a new file with *data* in it.

    Raises:
        OSError: Descriptors or memory are short.
    """
    fd = os.memfd_create("body")
    try:
        append(fd, data)
    except BaseException:
        os.close(fd)
        raise
    return fd


def append(fd: int, data: bytes) -> None:
    """Write *data* at the end of the file *fd*.

    Raises:
        OSError: Memory is short.
    """
    rest = memoryview(data)
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def content(fd: int) -> bytes:
    """Return all that the file *fd* has."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    while len(data) < size and (more := os.pread(fd, size - len(data), len(data))):
        data += more
    return data

"""Connect to a socket in the file system, however long its path is, following nothing.

A path over 107 bytes cannot be connected to, and the directory of an engine's
socket can be written by its container: what lies there could be a link to some
other socket.  So every step is opened by descriptor and checked, and what is
connected to is exactly what was checked.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Self

import trio

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_STREAM = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK

# Between two tries while the backlog is full (a unix socket says EAGAIN then, it
# does not wait): an engine under a burst accepts some hundred in that time.
FULL_PAUSE = 0.01


class Found:
    """A socket in the file system: this one and no other, whatever its path leads to later.

    A context manager, which closes it.  Made by `find`.
    """

    def __init__(self, fd: int, status: os.stat_result, where: Path) -> None:
        self._fd, self._status, self._where = fd, status, where
        self._path = f"/proc/self/fd/{fd}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_there(self) -> bool:
        """Whether it still lies where it was found, and nothing else."""
        try:
            return os.path.samestat(os.lstat(self._where), self._status)
        except OSError:
            return False

    def connect(self) -> socket.socket:
        """Connect to it, without waiting.

        Raises:
            OSError: Nobody listens there; BlockingIOError: its backlog is full.
        """
        sock = socket.socket(socket.AF_UNIX, _STREAM)
        try:
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        return sock

    async def connect_within(self, limit: float) -> socket.socket:
        """Connect to it; try again for *limit* seconds while its backlog is full.

        Raises:
            OSError: Nobody listens there; BlockingIOError: the backlog stayed full.
        """
        deadline = trio.current_time() + limit
        while True:
            try:
                return self.connect()
            except BlockingIOError:
                if trio.current_time() >= deadline:
                    raise
            await trio.sleep(FULL_PAUSE)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


def find(directory: Path, name: str) -> Found:
    """Find the socket *name* in *directory*; both are no links.

    Raises:
        OSError: There is none.
    """
    directory_fd = os.open(directory, _DIRECTORY)
    try:
        fd = os.open(name, _FILE, dir_fd=directory_fd)
    finally:
        os.close(directory_fd)
    try:
        status = os.fstat(fd)
        if not stat.S_ISSOCK(status.st_mode):
            raise ConnectionRefusedError(f"'{name}' in '{directory}' is no socket")
    except BaseException:
        os.close(fd)
        raise
    return Found(fd, status, directory / name)

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

import trio

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# Between two tries while the backlog is full (a unix socket says EAGAIN then, it
# does not wait): an engine under a burst accepts some hundred in that time.
FULL_PAUSE = 0.01


async def connect(directory: Path, name: str, *, limit: float) -> socket.socket:
    """Connect to the socket *name* in *directory*; both are no links.

    Args:
        directory: Where it is.
        name: A file name.
        limit: How long to try again while its backlog is full.

    Raises:
        OSError: Nobody listens there; BlockingIOError: the backlog stayed full.
    """
    directory_fd = os.open(directory, _DIRECTORY)
    try:
        fd = os.open(name, _FILE, dir_fd=directory_fd)
    finally:
        os.close(directory_fd)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise ConnectionRefusedError(f"'{name}' in '{directory}' is no socket")
        return await _connect(f"/proc/self/fd/{fd}", trio.current_time() + limit)
    finally:
        os.close(fd)


async def _connect(path: str, deadline: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)  # noqa: FBT003  # takes it by position only
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                if trio.current_time() >= deadline:
                    raise
                await trio.sleep(FULL_PAUSE)
            else:
                return sock
    except BaseException:
        sock.close()
        raise

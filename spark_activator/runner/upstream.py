"""The directory in which one activation's engine makes its socket.

An engine can write there, so everything goes by descriptor and follows nothing:
a path that is resolved a second time is a path that the engine chooses.
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

logger = logging.getLogger(__name__)

SOCKET = "engine.sock"
GROUP = "spark-activator"
_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# An engine that nests deeper wants us to fail; what is left is one directory
# of one activation below /run, which nobody opens again.
DEPTH = 32


def new_activation() -> str:
    """Return a fresh eight-digit name."""
    return secrets.token_hex(4)


def group_id() -> int | None:
    """Return the id of the group that runner, engine and activator share, where it exists."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def make(parent: Path, activation: str) -> int:
    """Make the directory of *activation*.

    Returns:
        Its group, by which the engine can bind in it.

    Raises:
        OSError: It cannot be made.
    """
    parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with _opened(parent) as above:
        _share(above, 0o2750)
        os.mkdir(activation, 0o700, dir_fd=above)
        fd = os.open(activation, os.O_RDONLY | _DIRECTORY, dir_fd=above)
    try:
        _share(fd, 0o2770)
        return os.fstat(fd).st_gid
    finally:
        os.close(fd)


def give_socket(parent: Path, activation: str, socket_path: Path) -> None:
    """Have the engine's socket be the one at *socket_path*, which somebody else listens on.

    By a second name of the same socket: nobody follows a symbolic link there.

    Raises:
        OSError: It is not there, not ours, or in another file system.
    """
    with _opened(parent / activation) as fd:
        os.link(socket_path, SOCKET, dst_dir_fd=fd, follow_symlinks=False)


def shared_directory(parent: Path, name: str) -> Path:
    """Make sure of a directory that an engine may write to, and return it.

    Raises:
        OSError: It cannot be made.
    """
    parent.mkdir(mode=0o2770, parents=True, exist_ok=True)
    with _opened(parent) as above:
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            return parent / name
        fd = os.open(name, os.O_RDONLY | _DIRECTORY, dir_fd=above)
    try:
        _share(fd, 0o2770)
    finally:
        os.close(fd)
    return parent / name


def exists(parent: Path, activation: str) -> bool:
    """Say whether there is a directory of *activation* that is no link."""
    try:
        return stat.S_ISDIR(os.lstat(parent / activation).st_mode)
    except (OSError, ValueError):
        return False


def remove_all(parent: Path) -> None:
    """Remove every activation's directory below *parent*; call it once no engine is left."""
    with contextlib.suppress(FileNotFoundError), _opened(parent) as above:
        for name in os.listdir(above):
            try:
                _remove(above, name, DEPTH)
            except OSError as error:
                # An engine that is root inside can make what we may not remove.
                logger.warning("Failed to remove '%s/%s', ignoring: %s", parent, name, error)


async def connect(parent: Path, activation: str) -> trio.SocketStream:
    """Connect to the engine; its path may be longer than a socket's address can be.

    Raises:
        OSError: Nobody listens there (yet).
    """
    fd = os.open(parent / activation, os.O_PATH | _DIRECTORY)
    try:
        return await connect_below(fd, SOCKET)
    finally:
        os.close(fd)


async def listens(parent: Path, activation: str) -> bool:
    """Say whether the engine takes connections."""
    try:
        stream = await connect(parent, activation)
    except OSError:
        return False
    await stream.aclose()
    return True


async def connect_below(directory: int, name: str) -> trio.SocketStream:
    """Connect to the unix socket *name* in the directory that is open as *directory*.

    What is connected to is what was checked: an engine could put a link to some
    other socket there, and that one would be looked up outside of its container.

    Raises:
        OSError: Nobody listens there.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise ConnectionRefusedError(f"'{name}' is no socket")
        await sock.connect(f"/proc/self/fd/{fd}")
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(fd)
    return trio.SocketStream(sock)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _share(fd: int, mode: int) -> None:
    group = group_id()
    if group is not None and os.fstat(fd).st_gid != group:
        # A runner outside of the group (a user manager) keeps its own.
        with contextlib.suppress(PermissionError):
            os.fchown(fd, -1, group)
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.fchmod(fd, mode)


def _remove(above: int, name: str, depth: int) -> None:
    try:
        os.unlink(name, dir_fd=above)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass  # unlink of a directory is one or the other
    if depth:
        fd = os.open(name, os.O_RDONLY | _DIRECTORY, dir_fd=above)
        try:
            for entry in os.listdir(fd):
                _remove(fd, entry, depth - 1)
        finally:
            os.close(fd)
    os.rmdir(name, dir_fd=above)

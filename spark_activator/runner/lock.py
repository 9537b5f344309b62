"""Lock files: a lock is alive while its flock is held, whatever any file says.

A lock and its description are two files.  `NAME.lock` is always empty and is
never renamed or unlinked: a lock file that is replaced lets a second holder in.
`NAME.json` only describes; it is replaced by rename, and may be missing.

The flock belongs to the open file description.  A duplicate of it lies in
systemd's descriptor store, so that it stays held while this process is dead;
it is close-on-exec, so that no child of ours prolongs it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spark_activator import notify

# Runners of one machine share the files, and nobody else writes them.
LOCK_MODE = 0o660


class Lock:
    """One lock file, taken or not.

    Args:
        path: The `.lock` file; made when it is first opened.
        stored_as: The name in systemd's descriptor store, None to keep it out.
    """

    def __init__(self, path: Path, *, stored_as: str | None = None) -> None:
        self.path = path
        self._stored_as = stored_as
        self._fd: int | None = None
        self._kept = False

    @property
    def held(self) -> bool:
        """Whether it is ours."""
        return self._fd is not None

    def take_nowait(self) -> bool:
        """Take it if it is free; True when it is ours afterwards.

        Raises:
            OSError: The file cannot be opened or made.
        """
        if self._fd is not None:
            return True
        fd = open_lock(self.path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def store(self) -> bool:
        """Leave it with systemd too, before anything is made under the lock; False: it did not."""
        if self._fd is not None and self._stored_as is not None and not self._kept:
            self._kept = notify.store(self._stored_as, self._fd)
        return self._kept

    def restore(self, fd: int) -> bool:
        """Take back what systemd kept; False when *fd* is not this lock, or no longer held.

        Ask only under the plan's lock.  The descriptor is ours in any case, and
        closed where it is of no use.
        """
        try:
            same = os.path.samestat(os.fstat(fd), os.stat(self.path))
            # A process that died between unlocking and `unstore` left a
            # descriptor without its lock: nobody planned that we take it again.
            held = same and not is_free(self.path)
            if held:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held = False
        if not held or self._fd is not None:
            os.close(fd)
            return False
        self._fd, self._kept = fd, True
        return True

    def give_away(self) -> int:
        """Return its descriptor, which the caller closes; the lock lives as long as that.

        A copy that systemd keeps would prolong it: only for a lock that is not stored.
        """
        assert self._fd is not None
        assert not self._kept
        fd, self._fd = self._fd, None
        return fd

    def release(self) -> None:
        """Free it, for its duplicate in systemd's store as well."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
        if self._stored_as is not None:
            notify.unstore(self._stored_as)
        self._kept = False


def open_lock(path: Path) -> int:
    """Open a lock file, made where it is missing.

    For reading, which is all that flock needs: closing a file that was open for
    writing is an event for whoever watches the directory, and looking must not
    wake those who look when something changes.

    Raises:
        OSError: It cannot be opened or made.
    """
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, LOCK_MODE)


def is_free(path: Path) -> bool:
    """Say whether nobody holds the lock at *path*; ask only under the plan's lock.

    Asking takes it for a moment, which would look like a holder to anybody
    who asks at the same time.
    """
    probe = Lock(path)
    if not probe.take_nowait():
        return False
    probe.release()
    return True


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    """Replace *path* by rename.

    Raises:
        OSError: It cannot be written; what was there is still there.
    """
    write_text(path, json.dumps(body, separators=(",", ":")) + "\n")


def write_text(path: Path, text: str, *, mode: int = 0o640) -> None:
    """Replace *path* by rename, readable for its group or as *mode* says.

    Raises:
        OSError: It cannot be written; what was there is still there.
    """
    # One writer per process and file: the process's id keeps two processes apart.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read *path*; empty where it is missing, half written or not an object."""
    try:
        body = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}

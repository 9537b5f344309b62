"""Wait until something in a directory changes: inotify, with a slow poll as the net.

Python has no inotify of its own and a dependency for three calls is too much,
so they are made through ctypes.  Where they cannot be (a sandbox without
closures, no instances left), the poll alone serves, a second later.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import trio

logger = logging.getLogger(__name__)

# What is not told within this is looked for: a lock that the kernel freed
# because its holder died makes no inotify event.
POLL = 1.0

# See inotify(7): attributes changed, moved here, unlinked.  Files are replaced by
# rename; what opens and closes them only to look must not wake anybody.
_MASK = 0x4 | 0x80 | 0x200


class DirectoryWatch:
    """Tells one waiter at a time that *directory* may have changed."""

    def __init__(self, directory: Path) -> None:
        self._fd: int | None = None
        try:
            self._fd = _inotify(directory)
        except (OSError, ImportError, MemoryError, AttributeError) as error:
            logger.warning("Failed to watch '%s', polling instead: %s", directory, error)

    async def wait(self) -> None:
        """Return when there was a change since the last call, or after `POLL` seconds."""
        with trio.move_on_after(POLL):
            if self._fd is None:
                await trio.sleep_forever()
            else:
                await trio.lowlevel.wait_readable(self._fd)
                with contextlib.suppress(BlockingIOError):
                    while os.read(self._fd, 65536):
                        pass

    def close(self) -> None:
        """Stop watching."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _inotify(directory: Path) -> int:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if libc.inotify_add_watch(fd, os.fsencode(directory), _MASK) < 0:
        error = ctypes.get_errno()
        os.close(fd)
        raise OSError(error, os.strerror(error))
    return fd

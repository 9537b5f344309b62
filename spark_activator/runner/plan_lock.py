"""The lock over all files in the directory that runners share: `plan.lock`.

It is held to read leases, tickets and settings, to plan, and to record the own
step; never across Docker, the network or anything that waits for another
process.  `under_plan` makes that so by construction: what runs under the lock is
a plain function, which cannot wait.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from spark_activator.runner.gpu_files import unwritable
from spark_activator.runner.lock import open_lock

T = TypeVar("T")

# The lock is held for well under 50 ms, so asking again is cheaper than a
# thread that waits: a cancelled wait would leave a thread behind that takes
# the lock for nobody.
ASK_AGAIN = 0.005
# Longer than this it is held by a process that was stopped or hangs; its
# watchdog ends it (30 s), and we say what we wait for.
PLAN_LIMIT = 40.0


async def under_plan(directory: Path, act: Callable[[], T]) -> T:
    """Run *act* while nobody else plans.

    Raises:
        EngineFailed: *directory* cannot be used, or the lock was not freed in time.
    """
    try:
        fd = await open_plan_lock(directory)
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        return act()
    except OSError as error:
        raise unwritable(directory, error) from error
    finally:
        os.close(fd)


async def open_plan_lock(directory: Path) -> int:
    """Take `plan.lock`; whoever closes the descriptor that is returned frees it.

    Raises:
        OSError: The directory cannot be used, or the lock was not freed in time.
    """
    # tmpfiles.d makes it on a machine; under a user manager nobody else does.
    os.makedirs(directory, mode=0o750, exist_ok=True)
    fd = open_lock(directory / "plan.lock")
    try:
        with trio.fail_after(PLAN_LIMIT):
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return fd
                except BlockingIOError:
                    await trio.sleep(ASK_AGAIN)
    except trio.TooSlowError as error:
        os.close(fd)
        raise OSError(errno.ETIMEDOUT, "the plan is held by somebody") from error
    except BaseException:
        os.close(fd)
        raise

"""The command line's side of the lending socket: ask, wait, and take the lock's descriptor."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from spark_activator.errors import EngineFailed, UserError
from spark_activator.layout import Layout
from spark_activator.protocol import MAX_LINE, ProtocolError
from spark_activator.runner.lending_lines import (
    Borrow,
    Denied,
    Done,
    Granted,
    PauseGpu,
    Reply,
    Request,
    ResumeGpu,
    Waiting,
    decode_reply,
    encode,
)

# The plan's lock may be held by a hanging process for 40 s; a pause waits for nothing else.
ANSWER_LIMIT = 60.0


class Lender:
    """One connection to whoever lends; close it and what was not granted is given up."""

    def __init__(self, layout: Layout) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._connection = self._connect(layout)
        self._buffer = b""
        self._fds: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        for fd in self._fds:
            os.close(fd)
        if self._child is not None:
            self._child.wait()

    def borrow(
        self, request: Borrow, timeout: float | None, say: Callable[[str], None]
    ) -> tuple[Granted, int]:
        """Wait for a lease; return what was granted and the lock's descriptor, the caller's now.

        Args:
            request: What is asked for.
            timeout: Seconds that it may take, None for as long as it does.
            say: Gets what is waited for, in words.

        Raises:
            EngineFailed: It was refused.
            TimeoutError: It took too long.
            UserError: Nobody answers.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._send(request)
        while True:
            match self._read(deadline):
                case Waiting(words):
                    say(words)
                case Granted() as granted if self._fds:
                    return granted, self._fds.pop()
                case Denied(code, message):
                    raise EngineFailed(code, message)
                case other:
                    raise UserError(f"expected a lease, got {other}")

    def change_pause(self, request: PauseGpu | ResumeGpu) -> Done:
        """Begin or end a pause.

        Raises:
            EngineFailed: It could not be recorded.
            UserError: Nobody answers.
        """
        self._send(request)
        try:
            match self._read(time.monotonic() + ANSWER_LIMIT):
                case Done() as done:
                    return done
                case Denied(code, message):
                    raise EngineFailed(code, message)
                case other:
                    raise UserError(f"expected an answer, got {other}")
        except TimeoutError as error:
            raise UserError(f"no answer within {ANSWER_LIMIT:g} s") from error

    def _connect(self, layout: Layout) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(layout.lease_socket))
        except PermissionError as error:
            connection.close()
            hint = "members of the group spark-activator may, or use sudo"
            raise UserError("may not ask for the GPU", hint=hint) from error
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return self._lend_ourselves(layout)
        except OSError as error:
            connection.close()
            raise UserError(f"cannot ask for the GPU: {error.strerror}") from error
        return connection

    def _lend_ourselves(self, layout: Layout) -> socket.socket:
        """Do without systemd, where we may write where the leases are."""
        place = next(path for path in (layout.gpu, *layout.gpu.parents) if path.exists())
        if not os.access(place, os.W_OK):
            hint = "sudo systemctl enable --now spark-lease.socket"
            raise UserError(f"nobody listens on {layout.lease_socket}", hint=hint)
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                # -P: not what happens to lie in the directory where we were called.
                [sys.executable, "-P", "-m", "spark_activator.runner.lending"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C at our terminal is ours to handle: it learns of it by our end.
                start_new_session=True,
            )
        return ours

    def _send(self, request: Request) -> None:
        try:
            self._connection.sendall(encode(request))
        except OSError as error:
            raise _ended() from error

    def _read(self, deadline: float | None) -> Reply:
        while b"\n" not in self._buffer:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._connection.settimeout(left)
            space = socket.CMSG_SPACE(array.array("i").itemsize)
            try:
                data, ancillary, _, _ = self._connection.recvmsg(MAX_LINE, space)
            except TimeoutError:
                raise
            except OSError as error:
                raise _ended() from error
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._fds += array.array("i", payload)
            if not data or len(self._buffer) > MAX_LINE:
                raise _ended()
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            return decode_reply(line)
        except ProtocolError as error:
            raise _ended() from error


def _ended() -> UserError:
    # systemd closes what is above MaxConnections= in the same way.
    return UserError(
        "the lender ended without an answer, or too many wait",
        hint="see: journalctl -u 'spark-lease@*'",
    )

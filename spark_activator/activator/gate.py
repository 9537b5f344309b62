"""Who may come in, decided from the head alone, before anything is woken.

The files are looked at when somebody comes, which costs three `stat`s: a key
that was taken away opens nothing from that moment on, and a process that waits
is not woken for them.  None of them prevents the start.  What is broken lets
nobody in whom it would have to name, and is told in the journal.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Generic, TypeVar

from spark_activator.catalog import frozen
from spark_activator.errors import FileProblems
from spark_activator.http import hosts, keys
from spark_activator.http.caller import Caller
from spark_activator.http.head import Head
from spark_activator.http.hosts import Hosts
from spark_activator.http.keys import Keys
from spark_activator.layout import Layout

logger = logging.getLogger(__name__)

# A file's stamps are those of the last tick of the kernel's clock (4 ms, or 10):
# two changes within one look alike.  So what is younger than this is read again.
SETTLED: Final = 100_000_000

_T = TypeVar("_T")


class _File(Generic[_T]):
    """What one file says, as long as it is the same file."""

    def __init__(self, path: Path, read: Callable[[str], _T], missing: _T, broken: _T) -> None:
        self._path, self._read = path, read
        self._missing, self._broken = missing, broken
        self._value = missing
        self._seen: tuple[int, ...] | None = None
        self._said = ""

    def value(self) -> _T:
        try:
            found = os.stat(self._path)
            seen = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
            if seen != self._seen:
                self._value = self._read(self._path.read_text("utf-8"))
                # Stamped before it was read: a change in between is seen the next time.
                settled = time.time_ns() - found.st_ctime_ns > SETTLED
                self._seen = seen if settled else None
        except FileNotFoundError:
            self._value, self._seen = self._missing, None
        except (OSError, ValueError, FileProblems) as error:
            self.warn(f"cannot be read, {error}")
            self._value, self._seen = self._broken, None
        return self._value

    def warn(self, problem: str) -> None:
        """Say once what is wrong; it may be read anew for every client."""
        if problem != self._said:
            self._said = problem
            if problem:
                logger.warning("'%s': %s", self._path, problem)


class Gate:
    """Knows hosts, origins and keys.

    Args:
        layout: Where their files lie.
        names: All names of the model that is asked for.
    """

    def __init__(self, layout: Layout, names: Collection[str]) -> None:
        self._names = names
        self._machine = hosts.machine_names(socket.gethostname())
        self._keys = _File(layout.api_keys, self._read_keys, Keys(), keys.UNREADABLE)
        self._hosts: _File[frozenset[str]] = _File(
            layout.hosts_file, self._read_hosts, frozenset(), frozenset()
        )
        self._origins: _File[frozenset[str]] = _File(
            layout.frozen_host, _read_origins, frozenset(), frozenset()
        )

    def admit(self, head: Head, peer: str) -> Caller:
        """Say who asks.

        Args:
            head: The request's.
            peer: The address at the other end of the connection.

        Raises:
            Refusal: Not from there, not by this name, or not without a valid key.
        """
        # First, so that nobody without one learns anything else.
        caller = keys.admit(self._keys.value(), head, peer=peer, names=self._names)
        known = self._known()
        known.check_host(head, peer)
        known.check_origin(head)
        return caller

    def cors(self, head: Head) -> Mapping[str, str]:
        """Say what every answer to *head* tells a browser."""
        return self._known().cors(head) if hosts.is_of_browser(head) else {}

    def preflight(self, head: Head) -> Mapping[str, str] | None:
        """Say what to answer a browser that asks whether it may ask; None where it does not."""
        return self._known().preflight(head) if hosts.is_of_browser(head) else None

    def _known(self) -> Hosts:
        return Hosts(self._machine | self._hosts.value(), self._origins.value())

    def _read_keys(self, text: str) -> Keys:
        found = keys.read(text)
        self._keys.warn(_wrong(found.wrong, "no API key, and opens nothing"))
        return found

    def _read_hosts(self, text: str) -> frozenset[str]:
        names, wrong = hosts.read_names(text)
        self._hosts.warn(_wrong(wrong, "no host name"))
        return names


def _read_origins(text: str) -> frozenset[str]:
    return frozenset(origin.lower() for origin in frozen.load_host(text).origins)


def _wrong(lines: tuple[int, ...], what: str) -> str:
    return f"line {', '.join(map(str, lines[:5]))} is {what}" if lines else ""

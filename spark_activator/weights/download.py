"""A repository, fetched into a hub cache: resumed, verified, and whole or not named.

A file grows as `blobs/DIGEST.incomplete` and gets its name when its hash is that
which the hub promised.  The ref, by which engines find a snapshot, is written last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from spark_activator import hub
from spark_activator.errors import UserError
from spark_activator.weights import crew, remote
from spark_activator.weights.choice import RemoteFile
from spark_activator.weights.hangup import Hangup
from spark_activator.weights.place import size
from spark_activator.weights.progress import Progress
from spark_activator.weights.remote import CutError, Listing

# One connection rarely fills the line; more than a few only split it.
CONNECTIONS = 4
# Tries in a row that bring nothing, and seconds between them.
TRIES = 5
PAUSE = 1.0
# Seconds for a download that is told to stop; only one that waits for the hub takes longer.
GRACE = 1.0
PIECE = 1 << 20


class _StopError(Exception):
    """Another file failed, or the person has had enough."""


class Repository:
    """One repository at one commit, in the cache at *place*.

    Args:
        place: The hub cache.
        found: What the hub has.
        wanted: The files to have.
        token: The hub's token, or None.
    """

    def __init__(
        self, place: Path, found: Listing, wanted: Sequence[RemoteFile], token: str | None
    ) -> None:
        self.root = place / hub.folder(found.repository)
        self.snapshot = self.root / "snapshots" / found.commit
        self._blobs = self.root / "blobs"
        self._found = found
        self._wanted = wanted
        self._token = token
        self._stop = threading.Event()
        self._hangup = Hangup()
        self._over = threading.Event()

    def missing(self) -> list[RemoteFile]:
        """Return the files that are not whole here."""
        return [file for file in self._wanted if not self._is_there(file)]

    def partial(self) -> int:
        """Return how many bytes of those are here already."""
        # Two names may have one content.
        parts = {file.digest: self._incomplete(file) for file in self.missing()}
        return sum(_size(path) or 0 for path in parts.values())

    def needed(self) -> int:
        """Return how many bytes are still to come."""
        sizes = {file.digest: file.size for file in self.missing() if not self._has_blob(file)}
        return max(sum(sizes.values()) - self.partial(), 0)

    def fetch(self, revision: str | None, progress: Progress) -> None:
        """Fetch what is missing; *revision* is the name that engines ask by.

        Raises:
            UserError: The hub refuses or sends something else, or the disk is full.
        """
        try:
            self._blobs.mkdir(parents=True, exist_ok=True)
            self.snapshot.mkdir(parents=True, exist_ok=True)
            todo = list({file.digest: file for file in self.missing()}.values())
            # Weights come last, so that a snapshot with all of them has everything.
            self._fetch_all([file for file in todo if not _is_weights(file)], progress)
            self._fetch_all([file for file in todo if _is_weights(file)], progress)
            for file in self._wanted:
                self._link(file)
            self._name(revision)
        except OSError as error:
            raise _disk_error(self.root, error) from error
        finally:
            self._over.set()

    def stop(self) -> None:
        """End a `fetch` of another thread; what came is kept for the next time."""
        self._end()
        # What has not ended by then waits for the hub, and goes with the process.
        self._over.wait(GRACE)

    def _end(self) -> None:
        self._stop.set()
        self._hangup.hang_up()

    def _fetch_all(self, files: Sequence[RemoteFile], progress: Progress) -> None:
        crew.do_all(
            files, lambda file: self._fetch_one(file, progress),
            hands=CONNECTIONS, failed=self._end,
        )  # fmt: skip

    def _fetch_one(self, file: RemoteFile, progress: Progress) -> None:
        if self._stop.is_set():
            raise _StopError
        if self._has_blob(file):
            self._link(file)
            return
        path = self._incomplete(file)
        with _locked(path) as stream:
            # Whoever had the lock before may have finished it.
            if not self._has_blob(file):
                self._fill(file, _Growing(stream, file, progress, self._stop))
                os.fsync(stream.fileno())
                os.fchmod(stream.fileno(), 0o644)
                os.replace(path, self._blobs / file.digest)
            else:
                path.unlink(missing_ok=True)
        self._link(file)

    def _fill(self, file: RemoteFile, growing: _Growing) -> None:
        tries = TRIES
        while growing.length < file.size or not file.size:
            before = growing.length
            try:
                remote.download(
                    self._found, file, self._token, before, growing.take, hangup=self._hangup
                )
                reason = "it ended early"
            except CutError as error:
                reason = str(error)
            if growing.length >= file.size:
                break
            tries = TRIES if growing.length > before else tries - 1
            if tries == 0:
                raise UserError(
                    f"'{file.name}' of '{self._found.repository}' does not come: {reason}",
                    hint="run it again: it goes on where it stopped",
                )
            if self._stop.wait(PAUSE):
                raise _StopError
        if growing.digest() != file.digest or growing.length != file.size:
            growing.restart()
            raise _wrong(file)

    def _is_there(self, file: RemoteFile) -> bool:
        return _size(self.snapshot / file.name) == file.size

    def _has_blob(self, file: RemoteFile) -> bool:
        return _size(self._blobs / file.digest) == file.size

    def _incomplete(self, file: RemoteFile) -> Path:
        return self._blobs / f"{file.digest}.incomplete"

    def _link(self, file: RemoteFile) -> None:
        if self._is_there(file) or not self._has_blob(file):
            return
        link = self.snapshot / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        # Relative: the cache is mounted elsewhere in containers.
        _replace_link(link, os.path.relpath(self._blobs / file.digest, link.parent))

    def _name(self, revision: str | None) -> None:
        name = revision or hub.DEFAULT_REVISION
        if not hub.COMMIT.fullmatch(name):
            ref = self.root / "refs" / name
            ref.parent.mkdir(parents=True, exist_ok=True)
            beside = ref.with_name(f".{ref.name}.{os.getpid()}")
            beside.write_text(self._found.commit)
            os.replace(beside, ref)
        # Whoever waits for the weights looks here for a change.
        os.utime(self.root / "snapshots")


class _Growing:
    """A file that grows, and its hash with it."""

    def __init__(
        self, stream: BinaryIO, file: RemoteFile, progress: Progress, stop: threading.Event
    ) -> None:
        self._stream = stream
        self._file = file
        self._progress = progress
        self._stop = stop
        self.length = 0
        self._hash = _hasher(file)
        # What an earlier run left counts, and is hashed like the rest.
        while piece := stream.read(PIECE):
            self._check()
            self._hash.update(piece)
            self.length += len(piece)
        if self.length > file.size:
            self._progress.add(-self.length)
            self.restart()

    def take(self, piece: bytes, first: bool) -> None:  # noqa: FBT001  # as `Take` says
        """Append *piece*; *first*: the file begins with it, whatever was asked for."""
        self._check()
        if first and self.length:
            self._progress.add(-self.length)
            self.restart()
        # More than was promised is as wrong as another hash, and has no end perhaps.
        if self.length + len(piece) > self._file.size:
            self.restart()
            raise _wrong(self._file)
        self._stream.write(piece)
        self._hash.update(piece)
        self.length += len(piece)
        self._progress.add(len(piece))

    def restart(self) -> None:
        """Throw away what is there."""
        self._stream.seek(0)
        self._stream.truncate()
        self.length = 0
        self._hash = _hasher(self._file)

    def digest(self) -> str:
        """Write all of it, and return its hash."""
        self._stream.flush()
        return self._hash.hexdigest()

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StopError


def _wrong(file: RemoteFile) -> UserError:
    return UserError(
        f"'{file.name}' came with another hash than the hub says ({file.digest[:12]}…), "
        "and was thrown away",
        hint="try again; a proxy or mirror on the way may have changed it",
    )


def _is_weights(file: RemoteFile) -> bool:
    return file.name.endswith(hub.WEIGHTS)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o644), "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another download of '{path.parent.parent.name}' is running",
                hint="wait for it, and run this again",
            ) from error
        yield stream


def _hasher(file: RemoteFile) -> hashlib._Hash:
    if file.lfs:
        return hashlib.sha256()
    # As git names a blob; it says what came, and guards nothing.
    hasher = hashlib.sha1(usedforsecurity=False)
    hasher.update(b"blob %d\0" % file.size)
    return hasher


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _replace_link(link: Path, target: str) -> None:
    beside = link.with_name(f".{link.name}.{os.getpid()}.{threading.get_ident()}")
    beside.symlink_to(target)
    os.replace(beside, link)


def _disk_error(root: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = os.statvfs(root.parent)
        left = size(free.f_bavail * free.f_frsize)
        return UserError(
            f"the disk of {root.parent} is full ({left} free); what came is kept",
            hint="see what takes how much: spark-model disk",
        )
    return UserError(f"cannot write {error.filename or root}: {error.strerror or error}")

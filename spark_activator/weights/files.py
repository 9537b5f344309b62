"""Files that engines read and no image brings: had once, known by their hash.

They are fetched, or come with this project.  Nothing but the hash decides what a file
is, so that an address which serves something else tomorrow changes nothing for any model.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from spark_activator.catalog.filelist import Fetchable
from spark_activator.catalog.load import load_files
from spark_activator.errors import UserError
from spark_activator.layout import Layout

# Until the server says something, and between two of its pieces.
PATIENCE = 30.0
PIECE = 1 << 16
# The files of the catalog are of 4 MB at most: a server that sends for ever is cut off.
LONGEST = 256 << 20

Get = Callable[[str], IO[bytes]]


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a file comes from, and what to do when nothing or another comes from there."""

    where: str  # an address, or a path
    get: Get
    missing: str
    another: str


def place(layout: Layout, digest: str) -> Path:
    """Say where the file 'sha256:HEX', or HEX, lies once it is fetched.

    Raises:
        UserError: *digest* is none.
    """
    if not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", digest):
        raise UserError(f"expected 'sha256:' and 64 hex digits, got '{digest}'")
    return layout.fetched_files / f"sha256:{digest.removeprefix('sha256:')}"


def fetch(layout: Layout, digest: str, *, get: Get | None = None) -> Path:
    """Have the file 'sha256:HEX', or HEX, here, and return where it lies.

    What is there already is checked, and fetched again where it is not whole.

    Raises:
        UserError: It is in no list, cannot be had, or is not what it should be.
    """
    path = place(layout, digest)
    digest = path.name
    if _hash_of(path) == digest:
        return path
    known, _ = load_files(layout)
    file = known.get(digest)
    if file is None:
        raise UserError(
            f"nobody says where the file {digest} comes from ({layout.files_file})",
            hint=f"put it there yourself: {path}",
        )
    layout.fetched_files.mkdir(parents=True, exist_ok=True)
    # Beside it, so that what has its name is whole; a second one of us writes another.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    origin = _origin(layout, file, path, get or _get)
    try:
        got = _save(file.name, origin, beside)
        if got != digest:
            raise UserError(
                f"{origin.where} is not the file it should be: expected {digest}, got {got}",
                hint=origin.another,
            )
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _origin(layout: Layout, file: Fetchable, path: Path, get: Get) -> _Origin:
    """Say where *file* comes from on its way to *path*."""
    if file.shipped:
        again = "an installation brings it: run install.sh again"
        return _Origin(str(layout.image_folders / file.shipped), _open, again, again)
    return _Origin(
        file.url,
        get,
        f"without a way there: put a copy of it at {path}",
        "something on the way may have answered for it, such as a login page",
    )


def _save(name: str, origin: _Origin, path: Path) -> str:
    """Write what is at *origin* today to *path*, and return its hash."""
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("wb") as out, origin.get(origin.where) as stream:
            while piece := stream.read(PIECE):
                size += len(piece)
                if size > LONGEST:
                    raise UserError(f"{origin.where} does not end: more than {LONGEST >> 20} MiB")
                digest.update(piece)
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
    except PermissionError:
        raise
    except (OSError, http.client.HTTPException) as error:
        # URLError is an OSError; http.client's own is not.
        raise UserError(
            f"cannot fetch {name} from {origin.where}: {error}", hint=origin.missing
        ) from error
    return f"sha256:{digest.hexdigest()}"


def _open(path: str) -> IO[bytes]:
    return open(path, "rb")


def _get(url: str) -> IO[bytes]:
    assert url.startswith("https://"), url  # files.yaml allows nothing else
    request = urllib.request.Request(url, headers={"User-Agent": "spark-activator"})  # noqa: S310  # see above
    stream: IO[bytes] = urllib.request.urlopen(request, timeout=PATIENCE)  # noqa: S310  # the same
    return stream


def _hash_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except (FileNotFoundError, IsADirectoryError):
        return None

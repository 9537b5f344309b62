"""What a repository on the hub, or a folder like one, says of its model: read, never fetched whole.

The hub is that of HF_ENDPOINT; without a token, that of HF_TOKEN or `hf auth login` is used.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spark_activator.cli.aside import aside
from spark_activator.errors import UserError
from spark_activator.imports.guess import Repository

_CONFIG = "config.json"
_INDEX = "model.safetensors.index.json"
# A configuration is kilobytes, an index of thousands of experts some megabytes.
_LIMIT = 64 << 20
_SNAPSHOT = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})$")


def read(name: str, revision: str | None = None, token: str | None = None) -> Repository:
    """Read the model *name*: a folder where it is the path of one, else of the hub.

    Raises:
        UserError: It is not there, not shown to us, or has no config.json.
    """
    if name.startswith(("/", ".", "~")):
        return _folder(Path(os.path.expanduser(name)))
    from spark_activator.weights import remote

    try:
        return aside(lambda: _hub(name, revision, token or remote.stored_token()))
    except remote.NoAccess as error:
        raise error.with_way("spark-model add … --token-file FILE") from error


def _folder(path: Path) -> Repository:
    try:
        if not path.is_dir():
            raise UserError(f"{path}: expected a folder with {_CONFIG}, there is none")
        folder = path.resolve()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    # First: without it this may be any folder, such as the root of the disk.
    config = _json(folder / _CONFIG, name=str(folder))
    try:
        sizes = _sizes(folder)
    except OSError as error:
        where = error.filename or folder
        raise UserError(f"{where}: cannot be read: {error.strerror or error}") from None
    index = _json(folder / _INDEX, name=str(folder)) if _INDEX in sizes else None
    # A snapshot in a hub cache holds links, which a container could not follow.
    cached = _SNAPSHOT.search(str(folder))
    if cached:
        return Repository(f"{cached[1]}/{cached[2]}", config, index, sizes, cached[3])
    return Repository(str(folder), config, index, sizes)


def _sizes(folder: Path) -> dict[str, int]:
    """Return how large the files below *folder* are, by their path in it."""

    def refuse(error: OSError) -> None:
        raise error

    return {
        str(file.relative_to(folder)): file.stat().st_size
        for place, _, names in os.walk(folder, onerror=refuse)
        for file in (Path(place, name) for name in names)
        if file.is_file()
    }


def _hub(name: str, revision: str | None, token: str | None) -> Repository:
    from spark_activator.weights import remote

    found = remote.listing(name, revision, token)
    files = {file.name: file for file in found.files}

    def fetched(file: str) -> Mapping[str, Any]:
        if files[file].size > _LIMIT:
            raise UserError(f"{name}: {file}: expected at most {_LIMIT} bytes")
        pieces: list[bytes] = []
        try:
            remote.download(found, files[file], token, 0, lambda piece, _: pieces.append(piece))
        except remote.CutError as error:
            raise UserError(f"the hub cannot be reached: {error}", hint="try again") from None
        return _parsed(b"".join(pieces), file, name=name)

    if _CONFIG not in files:
        raise _no_config(name)
    index = fetched(_INDEX) if _INDEX in files else None
    sizes = {file.name: file.size for file in found.files}
    return Repository(name, fetched(_CONFIG), index, sizes, found.commit)


def _json(path: Path, *, name: str) -> Mapping[str, Any]:
    try:
        return _parsed(path.read_bytes(), path.name, name=name)
    except FileNotFoundError:
        raise _no_config(name) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _parsed(data: bytes, file: str, *, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: {file}: expected JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{name}: {file}: expected a JSON object")
    return found


def _no_config(name: str) -> UserError:
    return UserError(
        f"{name} has no {_CONFIG}",
        hint="it is not a model as vLLM reads them: GGUF files, a dataset, or an adapter",
    )

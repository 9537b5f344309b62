"""What a repository on the hub, or a folder like one, says of its model: read, never fetched whole.

The hub is that of HF_ENDPOINT; the token is HF_TOKEN's, or the one that `hf auth login` stored.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spark_activator.errors import UserError
from spark_activator.imports.guess import Repository

_CONFIG = "config.json"
_INDEX = "model.safetensors.index.json"
# Seconds that the hub may take for a listing.
_PATIENCE = 30
# A configuration is kilobytes, an index of thousands of experts some megabytes.
_LIMIT = 64 << 20
_SNAPSHOT = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})$")


def read(name: str, revision: str | None = None) -> Repository:
    """Read the model *name*: a folder where it is the path of one, else of the hub.

    Raises:
        UserError: It is not there, not shown to us, or has no config.json.
    """
    if name.startswith(("/", ".", "~")):
        return _folder(Path(name).expanduser())
    return _hub(name, revision)


def _folder(path: Path) -> Repository:
    if not path.is_dir():
        raise UserError(f"{path}: expected a folder with {_CONFIG}, there is none")
    folder = path.resolve()
    sizes = {
        str(file.relative_to(folder)): file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file()
    }
    config = _json(folder / _CONFIG, name=str(folder))
    index = _json(folder / _INDEX, name=str(folder)) if _INDEX in sizes else None
    # A snapshot in a hub cache holds links, which a container could not follow.
    cached = _SNAPSHOT.search(str(folder))
    if cached:
        return Repository(f"{cached[1]}/{cached[2]}", config, index, sizes, cached[3])
    return Repository(str(folder), config, index, sizes)


def _hub(name: str, revision: str | None) -> Repository:
    from huggingface_hub import HfApi, hf_hub_download

    with _translated(name, revision), tempfile.TemporaryDirectory() as directory:
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=_PATIENCE)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}

        def fetched(file: str) -> Mapping[str, Any]:
            if sizes[file] > _LIMIT:
                raise UserError(f"{name}: {file}: expected at most {_LIMIT} bytes")
            path = hf_hub_download(name, file, revision=info.sha, local_dir=directory)
            return _json(Path(path), name=name)

        if _CONFIG not in sizes:
            raise _no_config(name)
        index = fetched(_INDEX) if _INDEX in sizes else None
        return Repository(name, fetched(_CONFIG), index, sizes, info.sha or "")


def _json(path: Path, *, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise _no_config(name) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: {path.name}: expected JSON: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(found, dict):
        raise UserError(f"{name}: {path.name}: expected a JSON object")
    return found


def _no_config(name: str) -> UserError:
    return UserError(
        f"{name} has no {_CONFIG}",
        hint="it is not a model as vLLM reads them: GGUF files, a dataset, or an adapter",
    )


@contextmanager
def _translated(name: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's library raises into what the user can do."""
    from huggingface_hub import errors, get_token

    # The library's HTTP client has had two names; its root of errors is this one's base.
    client_error: type[BaseException] = errors.HfHubHTTPError.__mro__[1]
    try:
        yield
    except errors.GatedRepoError:
        raise UserError(
            f"'{name}' is gated: its owner gives it to those who accept its terms",
            hint="accept them on its page, then log in with 'hf auth login' or set HF_TOKEN",
        ) from None
    except errors.RepositoryNotFoundError:
        shown = "the token may not read it" if get_token() else "it is private"
        raise UserError(
            f"there is no '{name}' on the hub, or {shown}",
            hint="look for a typing error; for a private one log in with 'hf auth login'",
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"'{name}' has no revision '{revision}'") from None
    except errors.HFValidationError as error:
        raise UserError(f"'{name}' is no name of a repository: {error}") from None
    except errors.OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set", hint="unset HF_HUB_OFFLINE") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise UserError(f"the hub answers with {status} for '{name}'") from None
    except (client_error, errors.LocalEntryNotFoundError) as error:
        raise UserError(
            f"the hub cannot be reached: {str(error) or type(error).__name__}",
            hint="is this machine online? A folder with config.json can be given instead",
        ) from None

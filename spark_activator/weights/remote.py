"""The hub, asked by `huggingface_hub`: what a repository has, and the bytes of one file.

The library is imported here alone, and only when something is fetched: it takes
longer to load than most commands run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from spark_activator.errors import UserError
from spark_activator.hub import COMMIT
from spark_activator.weights.choice import RemoteFile
from spark_activator.weights.hangup import Hangup

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoSibling

# The hub answers in a second; a proxy on the way may take its time.
ASK_TIMEOUT = 30.0
# Without a byte for so long a connection is dead, and another one is made.
READ_TIMEOUT = 30.0

# Takes a piece of a file; the second is True where it is the file's first, whatever was asked.
Take = Callable[[bytes, bool], None]


class NoAccess(UserError):
    """The hub does not show it to us: a token may help.  Its hint ends in 'give a token'."""

    def with_way(self, way: str) -> NoAccess:
        """Return it with the *way* in which the command that was typed is given a token."""
        return NoAccess(self.message, hint=f"{self.hint}: {way}")


class CutError(Exception):
    """The connection broke; what came until then is good."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What *repository* has at *commit*."""

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]


def load_library() -> None:
    """Import what a download needs of the library.

    Who then takes somebody else's rights may not be able to read where it lies.
    """
    # Each name is a module that the library imports when it is asked for.
    from huggingface_hub import (  # noqa: F401  # they are imported for later
        errors,
        get_session,
        hf_hub_url,
        hf_raise_for_status,
    )


def stored_token() -> str | None:
    """Return the token that `hf auth login` stored or HF_TOKEN has, for whoever runs us."""
    from huggingface_hub import get_token

    return get_token()


def listing(repository: str, revision: str | None, token: str | None) -> Listing:
    """Ask the hub what *repository* has at *revision*, None being its default.

    Raises:
        NoAccess: There is no such repository, or it is not shown to us.
        UserError: The hub cannot be asked, or there is no such revision.
    """
    from huggingface_hub import HfApi

    hub_api = HfApi(token=token or False)
    try:
        with _translated(repository, revision, token):
            info = hub_api.model_info(
                repository, revision=revision, files_metadata=True, timeout=ASK_TIMEOUT
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The library takes any answer for one of the hub's: such as the page of a login.
        raise UserError(
            f"{hub_api.endpoint} answers as no hub does",
            hint="look at it in a browser; HF_ENDPOINT names another",
        ) from error
    # It becomes a path on this machine, as the names of files do.
    if not isinstance(info.sha, str) or not COMMIT.fullmatch(info.sha):
        raise UserError(f"the hub does not say which commit of '{repository}' it has")
    files = tuple(_file(repository, sibling) for sibling in info.siblings or ())
    return Listing(repository, info.sha, files)


def download(
    found: Listing,
    file: RemoteFile,
    token: str | None,
    start: int,
    take: Take,
    *,
    hangup: Hangup | None = None,
) -> None:
    """Hand the bytes of *file* from *start* on to *take*, until *hangup* cuts it.

    Raises:
        CutError: The connection broke.
        UserError: The hub refuses.
    """
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status

    # Compressed, a range would be one of the compressed bytes.
    headers = {"Accept-Encoding": "identity"}
    if token:
        # The client does not take it along to the host that the hub sends it to.
        headers["Authorization"] = f"Bearer {token}"
    if start:
        headers["Range"] = f"bytes={start}-"
    url = hf_hub_url(found.repository, file.name, revision=found.commit)
    with (
        _translated(found.repository, found.commit, token, cut=True),
        get_session().stream("GET", url, headers=headers, timeout=READ_TIMEOUT) as response,
    ):
        hf_raise_for_status(response)
        first = response.status_code != 206
        connection = response.extensions["network_stream"].get_extra_info("socket")
        with (hangup or Hangup()).reaches(connection):
            for piece in response.iter_raw():
                take(piece, first)
                first = False


@contextmanager
def _translated(
    repository: str, revision: str | None, token: str | None, *, cut: bool = False
) -> Iterator[None]:
    from huggingface_hub import errors

    # The library's HTTP client has had two names; its root of errors is this one's base.
    client_error: type[BaseException] = errors.HfHubHTTPError.__mro__[1]
    try:
        yield
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if cut and status >= 500:
            raise CutError(f"the hub answers with {status}") from error
        raise _refused(error, repository, revision, token) from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError(
            "HF_HUB_OFFLINE is set, so nothing is fetched", hint="unset HF_HUB_OFFLINE"
        ) from error
    except errors.HFValidationError as error:
        raise UserError(f"'{repository}' is no name of a repository: {error}") from error
    except client_error as error:
        if cut:
            raise CutError(str(error) or type(error).__name__) from error
        raise UserError(
            f"the hub cannot be reached: {str(error) or type(error).__name__}",
            hint="is this machine online? Proxies are taken from HTTPS_PROXY",
        ) from error


def _refused(
    error: HfHubHTTPError, repository: str, revision: str | None, token: str | None
) -> UserError:
    from huggingface_hub import errors

    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        return NoAccess(
            f"'{repository}' is gated: its owner gives it to those who accept its terms",
            hint=f"accept them at {_page(repository)} with an account, and give a token of it",
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        return _not_found(repository, token)
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"'{repository}' has no revision '{revision}'")
    return UserError(f"the hub answers with {status} for '{repository}'", hint="try again later")


def _not_found(repository: str, token: str | None) -> NoAccess:
    if token:
        return NoAccess(
            f"there is no '{repository}' on the hub, or the token may not read it",
            hint=f"look at {_page(repository)} with the token's account, or give another token",
        )
    return NoAccess(
        f"there is no '{repository}' on the hub, or it is private",
        hint="if it is private, give a token",
    )


def _page(repository: str) -> str:
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{repository}"


def _file(repository: str, sibling: RepoSibling) -> RemoteFile:
    name = sibling.rfilename
    path = PurePosixPath(name)
    # It becomes a path on this machine, and the hub is not ours.
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise UserError(f"'{repository}' has a file with a name that leads elsewhere: {name!r}")
    digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    if sibling.size is None or digest is None or not digest.isalnum():
        raise UserError(f"the hub does not say how large '{name}' of '{repository}' is")
    return RemoteFile(name, sibling.size, digest, sibling.lfs is not None)

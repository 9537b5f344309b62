"""Docker as `spark-model image` needs it: look, pull, build, each error in plain words."""

from __future__ import annotations

import http.client
import io
import os
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from spark_activator.catalog.model import Image
from spark_activator.cli.aside import aside, each_aside
from spark_activator.cli.image_progress import GIB, Lines, Pull, Teller
from spark_activator.errors import UserError

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
Said = Generator[Mapping[str, Any], None, None]

# To look at something; a pull or a build has no limit, somebody watches it.
LIMIT = 60


@dataclass(frozen=True, slots=True)
class Found:
    """An image that Docker has.

    Attributes:
        id: The hash of its configuration.
        size: Bytes on the disk.
        digests: What registries call it, without their names.
        labels: As its Dockerfile or its build gave it.
    """

    id: str
    size: int
    digests: frozenset[str]
    labels: Mapping[str, str]

    @property
    def digest(self) -> str | None:
        """What a registry calls it; None where none does."""
        return min(self.digests, default=None)


class Docker:
    """One connection to Docker, closed at the end of `with`.

    Args:
        address: Path of its socket; None is Docker's own default.
    """

    def __init__(self, address: str | None = None, teller: Teller | None = None) -> None:
        import docker

        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        url = f"unix://{address}" if address else host
        if url.startswith("unix://") and not os.path.exists(url.removeprefix("unix://")):
            raise _unavailable()
        self._teller = teller or Teller()
        self._root: str | None = None
        # The SDK keeps the answer that it reads from to itself; requests' own hook has it.
        self._answers: list[requests.Response] = []
        self._api = _asked("answer", lambda: docker.APIClient(base_url=url, timeout=LIMIT))
        self._api.hooks["response"].append(self._heed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        aside(self._api.close)

    def find(self, image: Image) -> Found | None:
        """Return what Docker has under the name and digest of *image*.

        Raises:
            UserError: Docker does not answer.
        """
        from docker import errors

        def look() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self._api.inspect_image(  # type: ignore[no-untyped-call]  # docker has no types
                    image.pull_spec
                )
            except errors.ImageNotFound:
                return None
            return found

        found = _asked("look at the image", look)
        if found is None:
            return None
        names = found.get("RepoDigests") or ()
        return Found(
            id=str(found["Id"]),
            size=int(found.get("Size", 0)),
            digests=frozenset(name.partition("@")[2] for name in names),
            labels=(found.get("Config") or {}).get("Labels") or {},
        )

    def room(self) -> str:
        """Say how much is free where Docker keeps images; empty where that is not seen."""
        free = self._free()
        return "" if free is None else f" ({free[1] / GIB:.0f} GiB free in {free[0]})"

    def pull(self, image: Image) -> Found:
        """Pull *image*, telling how far it is.

        Raises:
            UserError: It cannot be had, or does not fit on the disk.
        """
        # By digest the tag says nothing: Docker would not look at it.
        name, tag = _split(image.reference)
        wanted = image.digest or tag
        progress = Pull()
        # Asked once, and now: the answer to be closed is the last one that came.
        self._free()

        def act() -> None:
            with self._events(
                lambda: self._api.pull(name, tag=wanted, stream=True, decode=True)
            ) as events:
                for event in events:
                    _raise_told(event, image)
                    progress.hear(event)
                    self._check_room(image, progress)
                    self._teller.tell(progress.line())

        try:
            _translated(f"pull {image.pull_spec}", act, image)
        except KeyboardInterrupt:
            self._teller.say("stopped; the same command goes on")
            raise
        finally:
            self._teller.end()
        found = self.find(image)
        if found is None:
            raise UserError(f"Docker pulled {image.pull_spec}, and does not have it")
        return found

    def build(
        self,
        context: bytes,
        tag: str,
        arguments: Mapping[str, str],
        *,
        labels: Mapping[str, str],
        no_cache: bool,
    ) -> None:
        """Build *context*, a tar archive, into the image *tag*, showing its steps.

        Raises:
            UserError: A step fails; what it said last was shown.
        """

        def begin() -> Said:
            return self._api.build(
                fileobj=io.BytesIO(context), custom_context=True, tag=tag, rm=True, forcerm=True,
                buildargs=dict(arguments), labels=dict(labels), nocache=no_cache, decode=True,
            )  # fmt: skip

        lines = Lines()

        def act() -> None:
            base = Pull()
            with self._events(begin) as events:
                for event in events:
                    _raise_told(event, None)
                    if "stream" in event:
                        for line in lines.feed(str(event["stream"])):
                            self._teller.say(f"  {line}")
                    elif "status" in event:
                        base.hear(event)
                        self._teller.tell(f"  the base: {base.line()}")

        try:
            _translated(f"build {tag}", act)
        finally:
            for line in lines.end():
                self._teller.say(f"  {line}")
            self._teller.end()

    def _events(self, begin: Callable[[], Said]) -> AbstractContextManager[Said]:
        def read() -> Said:
            events = begin()
            # Where we end early the connection has to go: that ends the work at Docker's side.
            try:
                yield from events
            finally:
                events.close()
                while self._answers:
                    self._answers.pop().close()

        return closing(each_aside(read))

    def _heed(self, response: requests.Response, **options: object) -> None:
        self._answers = [response]

    def _free(self) -> tuple[str, int] | None:
        if self._root is None:
            told = _asked("say where it keeps images", self._api.info)
            self._root = str(told.get("DockerRootDir", ""))
        # Docker may be on another machine, or in another root directory.
        if not self._root or not os.path.isdir(self._root):
            return None
        return self._root, shutil.disk_usage(self._root).free

    def _check_room(self, image: Image, progress: Pull) -> None:
        """End a pull whose layers cannot fit, as soon as their sizes are known."""
        if not progress.left:
            return
        free = self._free()
        if free is not None and progress.left > free[1]:
            raise UserError(
                f"{image.name} does not fit: {progress.left / GIB:.1f} GiB are still to come, "
                f"and {free[1] / GIB:.1f} GiB are free in {free[0]}",
                hint="see what takes the space: docker system df",
            )


def _split(reference: str) -> tuple[str, str]:
    """Split 'registry:5000/name:tag' into name and tag."""
    head, slash, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag or "latest"


def _raise_told(event: Mapping[str, Any], image: Image | None) -> None:
    """Raise what Docker says in the middle of its answer, where the status is long sent."""
    if "error" in event or "errorDetail" in event:
        detail = event.get("errorDetail") or {}
        message = str(event.get("error") or detail.get("message") or "no reason given").strip()
        raise UserError(f"Docker failed: {message}", hint=_hint(message, image))


def _hint(message: str, image: Image | None) -> str | None:
    """Say what to do about the words of a registry or of Docker."""
    low = message.lower()
    if image and any(word in low for word in ("denied", "unauthorized", "authentication", "403")):
        registry = image.reference.partition("/")[0]
        if registry == "nvcr.io":
            return (
                "log in as the user who pulls, with the word $oauthtoken as user name and a key "
                "from https://org.ngc.nvidia.com/setup as password: sudo docker login nvcr.io"
            )
        where = registry if "." in registry or ":" in registry else ""
        return f"log in as the user who pulls: sudo docker login {where}".rstrip()
    if "no space left" in low:
        return "see what takes the space: docker system df"
    if "no matching manifest" in low:
        return "it is not published for a machine of this kind"
    if "toomanyrequests" in low or "rate limit" in low:
        return "wait, or log in: sudo docker login"
    if any(word in low for word in ("timeout", "no such host", "connection refused", "tls")):
        return "is the network there? the same command goes on"
    return None


def _asked(what: str, act: Callable[[], T]) -> T:
    return _translated(what, lambda: aside(act))


def _translated(what: str, act: Callable[[], T], image: Image | None = None) -> T:
    import requests
    import urllib3
    from docker import errors

    # Where an answer breaks off in the middle, each library below has an error of its own.
    broken = (
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        errors.DockerException,
        errors.StreamParseError,
        OSError,
    )
    try:
        return act()
    except errors.APIError as error:
        message = str(error.explanation or error).strip()
        raise UserError(
            f"Docker failed to {what}: {message}", hint=_hint(message, image)
        ) from error
    except PermissionError:
        raise
    except broken as error:
        if "Permission denied" in str(error):
            raise UserError("Docker cannot be asked: permission denied", hint="use sudo") from error
        raise _unavailable() from error


def _unavailable() -> UserError:
    return UserError("Docker does not answer", hint="run: sudo systemctl start docker")

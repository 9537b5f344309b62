"""Compose files → services, with the variables of `.env` in them.

Only what model files can say is read.  What Compose merges by rules of its own
(`extends`, `!reset`) is not followed, and said.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from spark_activator.errors import FileProblems, Problem
from spark_activator.imports.bounded import is_small
from spark_activator.imports.settings import plain as as_text
from spark_activator.imports.variables import substitute

# The largest file of the seed has some 40 KiB.
_MAX_TEXT = 1 << 20
# A value as text, with variables in it.
_Plain = Callable[[object], str]


@dataclass(frozen=True, slots=True)
class Service:
    """One service, as Compose would start it.

    Attributes:
        name: Its key in the file.
        file: The file that said most of it.
        container: What Docker calls it.
        image: The image's reference, empty where it is only built.
        words: Entrypoint and command, one after the other.
        environment: Variables that are set.
        mounts: Path inside: path on the host as the file writes it, of bind mounts alone.
        profiles: Profiles that switch it on.
    """

    name: str
    file: str
    container: str
    image: str = ""
    words: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, str] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()


def parse(text: str, file: str) -> dict[str, Any]:
    """Read one compose file.

    Raises:
        FileProblems: It is none.
    """
    try:
        if len(text) > _MAX_TEXT:
            raise yaml.YAMLError(f"expected at most {_MAX_TEXT >> 20} MiB")
        body = yaml.safe_load(text)
        if not is_small(body):
            raise yaml.YAMLError("expected no endless numbers, and no anchors within anchors")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise FileProblems([Problem(file, "", f"expected a compose file: {said}")]) from None
    if not isinstance(body, dict):
        raise FileProblems([Problem(file, "", "expected a compose file with 'services:'")])
    return body


def included(body: Mapping[str, Any]) -> list[str]:
    """Name the files that a compose file includes, relative to itself."""
    found: list[str] = []
    for entry in _listed(body.get("include")):
        path = entry.get("path") if isinstance(entry, dict) else entry
        found += [str(each) for each in _listed(path) if each]
    return found


def services(
    bodies: Iterable[tuple[str, Mapping[str, Any]]], variables: Mapping[str, str]
) -> dict[str, Service]:
    """Read the services of all files; a later file changes what an earlier one said."""
    merged: dict[str, tuple[str, dict[str, Any]]] = {}
    for file, body in bodies:
        for name, said in _items(body.get("services")):
            if isinstance(said, dict):
                first, known = merged.get(name, (file, {}))
                beside = {"environment": _pairs(known) | _pairs(said)}
                merged[name] = (first, {**known, **said, **beside})
    return {name: _service(name, file, said, variables) for name, (file, said) in merged.items()}


def _service(name: str, file: str, said: dict[str, Any], variables: Mapping[str, str]) -> Service:
    def plain(value: object) -> str:
        return substitute(as_text(value), variables)

    words = [*_words(said.get("entrypoint"), plain), *_words(said.get("command"), plain)]
    return Service(
        name=name,
        file=file,
        container=plain(said.get("container_name") or name),
        image=plain(said.get("image") or ""),
        words=tuple(words),
        environment={key: plain(value) for key, value in _pairs(said).items()},
        mounts=dict(_mounts(said.get("volumes"), plain)),
        profiles=tuple(plain(each) for each in _listed(said.get("profiles"))),
    )


def _words(value: object, plain: _Plain) -> list[str]:
    if isinstance(value, list):
        return [plain(each) for each in value]
    try:
        return shlex.split(plain(value)) if value else []
    except ValueError:
        return [plain(value)]


def _pairs(said: Mapping[str, Any]) -> dict[str, Any]:
    environment = said.get("environment")
    if isinstance(environment, list):
        return {name: value for name, _, value in (str(e).partition("=") for e in environment)}
    return {str(name): value for name, value in _items(environment)}


def _mounts(value: object, plain: _Plain) -> Iterable[tuple[str, str]]:
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            source, target = each.get("source"), each.get("target")
            if each.get("type") == "bind" and source and target:
                yield plain(target), plain(source)
            continue
        source, _, rest = plain(each).partition(":")
        # A name without a slash is a volume of Docker's own.
        if rest and "/" in source:
            yield rest.split(":")[0], source


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _items(value: object) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else ()

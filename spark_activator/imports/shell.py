"""A command line → what of it serves with vLLM, and what it does besides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from spark_activator.imports import docker_run, flags, settings
from spark_activator.imports import words as splitting
from spark_activator.imports.docker_run import Run
from spark_activator.imports.draft import Draft

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_MODULE = "vllm.entrypoints.openai.api_server"
_SHELLS = ("bash", "sh", "dash", "zsh")
# Programs that run the one behind them; a few options of theirs take a value.
_WRAPPERS = ("sudo", "exec", "nohup", "env", "time", "command", "setsid", "nice")
# More than anybody types.
_MOST_WORDS = 10_000
# `bash -c` in `docker run` in `bash -c`, and no deeper.
_DEEPEST = 4


class NoServe(ValueError):
    """There is no `vllm serve` in it."""


@dataclass(slots=True)
class _Serve:
    """A `vllm serve` that was found.

    Attributes:
        arguments: What stands behind these two words.
        variables: `NAME=value` of its environment.
        runs: The containers that it is in, the outer one first.
        others: Further commands that are run with it.
    """

    arguments: list[str]
    variables: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    others: list[tuple[str, list[str]]] = field(default_factory=list)


def words(text: str) -> list[str]:
    """Split a pasted block: with prompts, comments and lines that go on.

    Raises:
        NoServe: Its quotes are not closed.
    """
    try:
        return splitting.split(text)
    except splitting.Unclosed as error:
        raise NoServe(f"the command line: {error}") from None


def read(line: Sequence[str], draft: Draft, *, image: str = "") -> None:
    """Put the command *line* of a terminal or of a container of *image* into *draft*.

    Raises:
        NoServe: It does not start vLLM, or is longer than anybody types.
    """
    if len(line) > _MOST_WORDS:
        raise NoServe(f"expected at most {_MOST_WORDS} words, got {len(line)}")
    found = _search(line, image, 0)
    if found is None:
        raise NoServe("expected 'vllm serve', there is none")
    for run in found.runs:
        docker_run.apply(run, draft)
        draft.reference = run.image
    settings.environment(draft, dict(_pair(word) for word in found.variables))
    for where, command in found.others:
        said = "build an image with them" if where == "before" else "only one model is served"
        draft.lose(f"commands {where} it, {' '.join(command)[:200]!r}: {said}")
    flags.read(found.arguments, draft)


def _search(line: Sequence[str], image: str, deep: int) -> _Serve | None:
    """Find the first command of *line* that serves; what is around it comes along."""
    if deep > _DEEPEST:
        return None
    commands = list(_commands(line))
    for number, command in enumerate(commands):
        found = _opened(command, image, deep)
        if found is None:
            continue
        for before in commands[:number]:
            exported = _exported(before)
            if exported is None:
                found.others.append(("before", before))
            else:
                found.variables[:0] = exported
        found.others += [("behind", behind) for behind in commands[number + 1 :]]
        return found
    return None


def _commands(line: Sequence[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*line, ";"]:
        if word not in splitting.ENDS:
            command.append(word)
        elif command:
            yield command
            command = []


def _exported(command: Sequence[str]) -> list[str] | None:
    """Return the variables of a command that only sets some; None where it does more."""
    rest = command[1:] if command[0] == "export" else command
    # Of the host, where they are only there to say where downloads go.
    return list(rest) if all(_ASSIGNMENT.fullmatch(word) for word in rest) else None


def _opened(command: Sequence[str], image: str, deep: int) -> _Serve | None:
    """Find what *command* serves, within wrappers, containers and shells."""
    rest, variables = _unwrapped(list(command))
    inner = _inside(rest, image, deep)
    if inner is None:
        start = _start(rest, image)
        if start is None:
            return None
        inner = _Serve(rest[start:])
        before = rest[: start - (rest[start - 1] == "serve")]
        if before and before[-1].rpartition("/")[2] == "vllm":
            before.pop()
        if before and (before[-1] != _MODULE or before[1:-1] != ["-m"]):
            inner.others.append(("before", before))
    inner.variables[:0] = variables
    return inner


def _unwrapped(rest: list[str]) -> tuple[list[str], list[str]]:
    """Take `sudo -E`, `exec`, `NAME=value` and their like off *rest*."""
    variables: list[str] = []
    wrapped = False
    while rest:
        if _ASSIGNMENT.fullmatch(rest[0]):
            variables.append(rest.pop(0))
        elif rest[0] in _WRAPPERS:
            wrapped = True
            rest.pop(0)
        elif wrapped and re.fullmatch(r"-[A-Za-z]{1,3}", rest[0]):
            rest.pop(0)
        else:
            break
    return rest, variables


def _inside(rest: list[str], image: str, deep: int) -> _Serve | None:
    """Look into `docker run`, `docker exec` and `bash -c`."""
    verb = _docker(rest)
    if verb:
        run = docker_run.read(rest[verb:])
        line = [*run.entrypoint, *run.command]
        if rest[verb - 1] == "exec":
            return _search(run.command, "", deep + 1)
        found = _search(line, "" if run.entrypoint else run.image, deep + 1)
        if found:
            found.runs.insert(0, run)
        return found
    script = _script(rest)
    return _search(words(script), "", deep + 1) if script is not None else None


def _docker(rest: Sequence[str]) -> int:
    """Return where the options of `docker run` or `exec` begin; 0 where it is neither."""
    if rest[:1] not in (["docker"], ["podman"]):
        return 0
    verb = 2 if rest[1:2] == ["container"] else 1
    return verb + 1 if rest[verb : verb + 1] in (["run"], ["exec"]) else 0


def _script(rest: Sequence[str]) -> str | None:
    """Return the script of `bash -c`, also behind an entrypoint of the image's."""
    for n, word in enumerate(rest[:3]):
        script = next((m for m in range(n + 1, len(rest)) if not rest[m].startswith("-")), None)
        options = rest[n + 1 : script]
        if word.rpartition("/")[2] in _SHELLS and script and any("c" in o for o in options):
            return rest[script]
    return None


def _start(rest: Sequence[str], image: str) -> int | None:
    for n, word in enumerate(rest):
        if word == "serve" and n and rest[n - 1].rpartition("/")[2] == "vllm":
            return n + 1
        if word == _MODULE:
            return n + 1
    official = "vllm-openai" in image
    if rest[:1] == ["serve"] and rest[1:]:
        return 1
    # The entrypoint of the official image is `vllm serve`.
    return 0 if official and rest and rest[0] not in _SHELLS else None


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value

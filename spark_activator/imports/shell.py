"""A pasted command line → its words, and what of them are the arguments of `vllm serve`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from spark_activator.imports import flags, settings
from spark_activator.imports.draft import Draft

# Where one command of a shell ends.
_ENDS = {"&&", "||", ";", "|", "&"}
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_MODULE = "vllm.entrypoints.openai.api_server"
# Options of `docker run` that take no value; all others that are seen with vLLM take one.
_ALONE = {
    "--rm", "-it", "-i", "-t", "-d", "--detach", "--init", "--privileged", "--interactive",
    "--tty", "-ti", "-dit", "-itd", "--read-only",
}  # fmt: skip
# What every container gets, or must not have, and the runner decides.
_RUNNERS = {
    "--gpus", "--runtime", "--ipc", "--network", "--net", "--publish", "--name", "--restart",
    "--pull", "--platform", "--hostname", "--user", "--log-driver", "--log-opt", "--memory",
}  # fmt: skip
_LETTERS = {"-e": "--env", "-v": "--volume", "-p": "--publish", "-u": "--user", "-m": "--memory"}


class NoServe(ValueError):
    """There is no `vllm serve` in it."""


def words(text: str) -> list[str]:
    """Split a pasted block: with prompts, comments and lines that go on.

    Raises:
        NoServe: Its quotes are not closed.
    """
    lines = [re.sub(r"^\s*[$#>] ", "", line) for line in text.splitlines()]
    kept = [line for line in lines if not re.match(r"\s*#", line)]
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(kept))
    try:
        split = shlex.shlex(joined, posix=True, punctuation_chars=";&|")
        split.whitespace_split = True
        split.commenters = ""
        return list(split)
    except ValueError as error:
        raise NoServe(f"the command line: {error}") from None


def read(line: Sequence[str], draft: Draft, *, image: str = "") -> None:
    """Put the command *line* of a terminal or of a container of *image* into *draft*.

    Raises:
        NoServe: It does not start vLLM.
    """
    rest = list(line)
    while rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
        settings.environment(draft, {found[1]: found[2]})
        rest.pop(0)
    if rest[:1] == ["sudo"]:
        rest.pop(0)
    if rest[:2] in (["docker", "run"], ["podman", "run"]):
        image, rest = _docker(rest[2:], draft)
        draft.reference = image
    flags.read(_arguments(rest, draft, image), draft)


def _docker(rest: list[str], draft: Draft) -> tuple[str, list[str]]:
    """Take the options of `docker run` off *rest*; returns the image and its command."""
    entrypoint: list[str] = []
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in _ALONE:
            continue
        option, equals, value = option.partition("=")
        if not equals:
            value = rest.pop(0) if rest else ""
        option = _LETTERS.get(option, option)
        if option == "--entrypoint":
            entrypoint = shlex.split(value)
        else:
            _option(option, value, draft)
    if not rest:
        raise NoServe("docker run: expected an image, there is none")
    return rest[0], [*entrypoint, *rest[1:]]


def _option(option: str, value: str, draft: Draft) -> None:
    if option == "--env":
        name, equals, given = value.partition("=")
        settings.environment(draft, {name: given} if equals else {})
        if not equals:
            draft.computed.append(f"{name}: comes from whoever starts it")
    elif option == "--volume":
        settings.volume(draft, value)
    elif option == "--shm-size":
        settings.shared_memory(draft, value)
    elif option == "--ulimit":
        name, _, limit = value.partition("=")
        settings.ulimit(draft, name, limit)
    elif option == "--device":
        _device(value, draft)
    elif option not in _RUNNERS:
        draft.lose(f"docker run {option} {value}: the runner has no such option")


def _device(value: str, draft: Draft) -> None:
    path = value.partition(":")[0]
    if path.startswith("/dev/nvidia") or "=" in path:
        draft.computed.append(f"device {path}: the GPU's come by themselves")
    else:
        draft.devices.append(path)


def _arguments(rest: list[str], draft: Draft, image: str) -> list[str]:
    """Return what follows `vllm serve`, up to the end of that command."""
    rest = _unwrapped(rest)
    start = _start(rest, image)
    if start is None:
        raise NoServe("expected 'vllm serve', there is none")
    before = [word for word in rest[:start] if word not in ("exec", "vllm", "serve", *_ENDS)]
    found = [_ASSIGNMENT.fullmatch(word) for word in before]
    settings.environment(draft, {one[1]: one[2] for one in found if one})
    others = [word for word, one in zip(before, found, strict=True) if not one]
    if others and others[:2] != ["python3", "-m"] and others[:2] != ["python", "-m"]:
        draft.lose(f"commands before it, {shlex.join(others)[:200]!r}: build an image with them")
    end = next((n for n, word in enumerate(rest) if n >= start and word in _ENDS), len(rest))
    if rest[end + 1 :]:
        draft.lose(f"commands behind it, {shlex.join(rest[end + 1 :])[:200]!r}")
    return [word for word in rest[start:end] if not re.match(r"\d?>", word)]


def _unwrapped(rest: list[str]) -> list[str]:
    """Open `bash -c '…'`."""
    shells = ("bash", "sh", "/bin/bash", "/bin/sh")
    for n, word in enumerate(rest[:3]):
        script = next((m for m in range(n + 1, len(rest)) if not rest[m].startswith("-")), None)
        if word in shells and script is not None and any("c" in o for o in rest[n + 1 : script]):
            return words(rest[script])
    return rest


def _start(rest: list[str], image: str) -> int | None:
    for n, word in enumerate(rest):
        if word == "serve" and n and rest[n - 1].rpartition("/")[2] == "vllm":
            return n + 1
        if word == _MODULE:
            return n + 1
    if rest[:1] == ["serve"]:
        return 1
    # The entrypoint of the official image is `vllm serve`.
    official = "vllm-openai" in image
    return 0 if official and rest and rest[0] not in ("bash", "sh") else None

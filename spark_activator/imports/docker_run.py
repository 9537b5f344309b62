"""`docker run …` → its options, its image and what it runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from spark_activator.imports import settings
from spark_activator.imports.draft import Draft

# Options that take no value; all others take one.
_ALONE = {
    "--rm", "--detach", "--init", "--privileged", "--interactive", "--tty", "--read-only",
    "--publish-all", "--no-healthcheck", "--oom-kill-disable", "--quiet", "--replace",
}  # fmt: skip
_LETTERS_ALONE = "ditPq"
_LETTERS = {
    "e": "--env", "v": "--volume", "p": "--publish", "u": "--user", "m": "--memory",
    "h": "--hostname", "w": "--workdir", "l": "--label", "c": "--cpu-shares", "a": "--attach",
}  # fmt: skip
# What every container gets or needs not, and the runner decides.
_RUNNERS = {
    "--gpus", "--runtime", "--ipc", "--network", "--net", "--publish", "--name", "--restart",
    "--pull", "--platform", "--hostname", "--log-driver", "--log-opt", "--memory", "--rm",
    "--detach", "--init", "--interactive", "--tty", "--publish-all", "--label", "--attach",
    "--memory-swap", "--oom-kill-disable", "--no-healthcheck", "--quiet", "--replace",
    "--health-cmd", "--stop-timeout",
}  # fmt: skip
_RIGHTS = {"--privileged", "--cap-add", "--security-opt", "--pid", "--userns", "--cgroupns"}


@dataclass(frozen=True, slots=True)
class Run:
    """A container that is started.

    Attributes:
        options: Each option by its long name, with its value; empty where it takes none.
        image: The image; empty where there is none.
        entrypoint: What replaces the image's own.
        command: What stands behind the image.
    """

    options: list[tuple[str, str]]
    image: str
    entrypoint: list[str]
    command: list[str]


def read(words: Sequence[str]) -> Run:
    """Read what stands behind `docker run`."""
    rest, options = list(words), []
    entrypoint: list[str] = []
    while rest and len(rest[0]) > 1 and rest[0].startswith("-"):
        for option, value in _taken(rest):
            if option == "--entrypoint":
                entrypoint = _split(value)
            else:
                options.append((option, value))
    return Run(options, rest[0] if rest else "", entrypoint, rest[1:])


def _taken(rest: list[str]) -> list[tuple[str, str]]:
    """Take one word of options off *rest*, and its value."""
    word = rest.pop(0)
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        if name in _ALONE or equals:
            return [(name, value)]
        return [(name, rest.pop(0) if rest else "")]
    found = []
    for n, letter in enumerate(word[1:], 2):
        if letter in _LETTERS_ALONE:
            found.append((f"-{letter}", ""))
            continue
        value = word[n:].removeprefix("=") or (rest.pop(0) if rest else "")
        return [*found, (_LETTERS.get(letter, f"-{letter}"), value)]
    return found


def _split(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        return [value]


def apply(run: Run, draft: Draft) -> None:
    """Put the options of *run* into *draft*, or say that they are not translated."""
    ours = []
    for option, value in run.options:
        said = f"docker run {option} {value}".rstrip()
        if option in _RUNNERS or len(option) == len("-d"):
            ours.append(option)
        elif option in _RIGHTS:
            draft.lose(
                f"docker run {option} {value}".rstrip() + ": no engine gets rights on the host"
            )
        else:
            _option(option, value, draft, said)
    if ours:
        named = ", ".join(dict.fromkeys(ours))
        draft.computed.append(f"docker run {named}: the runner decides that")


def _option(option: str, value: str, draft: Draft, said: str) -> None:
    name, equals, given = value.partition("=")
    if option == "--env" and equals:
        settings.environment(draft, {name: given})
    elif option == "--env":
        settings.from_outside(draft, name)
    elif option == "--volume":
        settings.volume(draft, value)
    elif option == "--mount":
        settings.mount(draft, value)
    elif option == "--shm-size":
        settings.shared_memory(draft, value)
    elif option == "--ulimit":
        settings.ulimit(draft, name, given)
    elif option == "--device":
        settings.device(draft, value)
    else:
        draft.lose(f"{said}: the runner has no such option")

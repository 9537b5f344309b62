"""The documents, and what the code tells people to type, name commands that are there."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_activator.cli.main import _parser

ROOT = Path(__file__).parents[2]
PARSER = _parser()
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("images/*/README.md")]
)
TOLD = sorted(
    path
    for place in ("spark_activator", "install", "units", "models", "images")
    for path in (ROOT / place).rglob("*")
    if path.suffix in {".py", ".sh", ".yaml", ".js", ".service", ".conf"}
)
# Where a command ends: at a word of the shell, a sentence's end, or a placeholder.
END = re.compile(r" -- |[|;<#\"'`\\()]|&&|\{|…|[.,:]\s|[.,:]$")
# Units call it, and nobody else has to.
INTERNAL = {"routes"}
# Spelt by their short forms, or for programs alone.
NOT_WRITTEN_DOWN = {"-h", "--help", "--follow", "--lines"}


def subcommands(some: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in some._actions:  # argparse shows them in no other way
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options(some: argparse.ArgumentParser) -> set[str]:
    return {name for action in some._actions for name in action.option_strings}


def leaves(some: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each command that does something, by all of its words, with its options."""
    below = subcommands(some)
    for name, sub in below.items():
        yield from leaves(sub, f"{path} {name}".strip())
    if not below:
        yield path, options(some)


def commands(text: str) -> Iterator[list[str]]:
    """The words behind each `spark-model` that a word or an option follows."""
    for rest in re.findall(r"(?<=spark-model )(?=\[?[a-z-])(?:(?!spark-model ).)*", text):
        words = END.split(rest)[0].replace("[", "").replace("]", "").split()
        if words:
            yield words


def problem(words: list[str]) -> str | None:
    """What is wrong with a command; None if it is there as it is written."""
    here = PARSER
    for word in words:
        below = subcommands(here)
        if word.startswith("-") and word != "-":
            if word.partition("=")[0] not in options(here):
                return f"no option {word}: {' '.join(words)}"
        elif below and word not in below:
            return f"no command {word}: {' '.join(words)}"
        elif below:
            here = below[word]
    return None


def code_of(document: Path) -> str:
    """Blocks for a terminal, and words in backquotes."""
    found = re.findall(
        r"```(?:console|sh)\n(.*?)```|`([^`\n]+)`", document.read_text("utf-8"), re.DOTALL
    )
    return "\n".join(block or span for block, span in found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_commands_that_are_there(document: Path) -> None:
    found = commands(code_of(document))

    assert [wrong for words in found if (wrong := problem(words))] == []


def test_the_code_tells_people_commands_that_are_there() -> None:
    found = [words for path in TOLD for words in commands(path.read_text("utf-8"))]

    assert len(found) > len(list(leaves(PARSER)))  # it finds what it looks for
    assert [wrong for words in found if (wrong := problem(words))] == []


def test_a_command_that_is_not_there_is_found() -> None:
    told = "sudo spark-model image fetch {name}, or `spark-model pull NAME --now`; spark-model list"

    assert [problem(words) for words in commands(told)] == [
        "no command fetch: image fetch",
        "no option --now: pull NAME --now",
        None,
    ]


def test_the_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    listed = set(re.findall(r"`(?:sudo )?spark-model ([\w-]+)", readme))
    listed |= set(re.findall(r"`, `([\w-]+)`", readme))

    assert set(subcommands(PARSER)) - listed == INTERNAL


def test_every_option_is_written_down() -> None:
    written = "\n".join(code_of(document) for document in DOCUMENTS)
    words = set(re.findall(r"-{1,2}[a-z][\w-]*", written))

    missing = {path: known - NOT_WRITTEN_DOWN - words for path, known in leaves(PARSER)}
    assert {path: names for path, names in missing.items() if names} == {}

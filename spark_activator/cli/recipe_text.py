"""The text of a recipe: from a file, a link, a folder, or standard input."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from spark_activator.errors import UserError
from spark_activator.imports.hidden import one_line
from spark_activator.imports.read import LIMIT
from spark_activator.imports.variables import dotenv

# Names that recipes have in their folders, and compose files in theirs.
_NAMES = (
    "recipe.yaml", "recipe.yml", "compose.yaml", "compose.yml", "docker-compose.yml",
    "docker-compose.yaml",
)  # fmt: skip
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class RecipeText:
    """A text, what to call it, and the variables of the `.env` beside it."""

    text: str
    origin: str
    environment: dict[str, str] = field(default_factory=dict)


def load(place: str) -> RecipeText:
    """Read the recipe at *place*.

    Raises:
        UserError: There is none, or several.
    """
    if place == "-":
        return RecipeText(_decoded(sys.stdin.buffer.read(LIMIT + 1), place), "standard input")
    if place.startswith(("http://", "https://")):
        shown = one_line(place)
        return RecipeText(_fetched(place, shown), shown)
    path = Path(os.path.expanduser(place))
    try:
        if path.is_dir():
            path = _within(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    return RecipeText(_text(path), str(path), _environment(path.with_name(".env")))


def _within(folder: Path) -> Path:
    found = sorted(path for name in _NAMES for path in folder.rglob(name))
    # NVIDIA's have a folder for each machine.
    fitting = [path for path in found if "dgx-spark" in path.parts] or found
    if not fitting:
        raise UserError(f"{folder}: expected a recipe.yaml or a compose file, there is none")
    if len(fitting) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in fitting[:5])
        raise UserError(f"{folder}: has {len(fitting)} of them", hint=f"name one: {names}")
    return fitting[0]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decoded(file.read(LIMIT + 1), str(path))
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    line = "give a line itself so: --from-recipe - <<< 'vllm serve …'"
    hint = line if "vllm serve" in str(path) else None
    return UserError(f"{path}: cannot be read: {error.strerror}", hint=hint)


def _decoded(data: bytes, place: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UserError(f"{place}: expected text in UTF-8") from None


def _environment(path: Path) -> dict[str, str]:
    """Read `.env` as compose does, where there is one."""
    if not path.is_file():
        return {}
    return dotenv(_text(path))


def _fetched(link: str, shown: str) -> str:
    import http.client
    import urllib.parse
    import urllib.request

    try:
        if "@" in urllib.parse.urlsplit(link).netloc:
            # urllib takes it for a part of the host's name, and has it looked up.
            raise UserError(
                f"{shown}: a password in a link is sent to nobody",
                hint="fetch it with a program of yours, and give the file",
            )
        with urllib.request.urlopen(link, timeout=_PATIENCE) as answer:  # noqa: S310  # http only, see load
            data: bytes = answer.read(LIMIT + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = one_line(str(getattr(error, "reason", None) or error))
        raise UserError(f"{shown}: cannot be fetched: {reason}") from None
    text = data.decode("utf-8", errors="replace")
    if text.lstrip()[:9].lower().startswith(("<!doctype", "<html")):
        raise UserError(f"{shown}: is a web page", hint="give the link of the raw file")
    return text

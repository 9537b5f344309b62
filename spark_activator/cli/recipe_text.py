"""The text of a recipe: from a file, a link, a folder, or standard input."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from spark_activator.errors import UserError
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
        return RecipeText(_fetched(place), place)
    path = Path(place).expanduser()
    if path.is_dir():
        path = _within(path)
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
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


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


def _fetched(link: str) -> str:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(link, timeout=_PATIENCE) as answer:  # noqa: S310  # http only, see load
            data: bytes = answer.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{link}: cannot be fetched: {reason}") from None
    text = data.decode("utf-8", errors="replace")
    if text.lstrip()[:9].lower().startswith(("<!doctype", "<html")):
        raise UserError(f"{link}: is a web page", hint="give the link of the raw file")
    return text

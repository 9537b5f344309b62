"""Any text that says how somebody serves a model → drafts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from spark_activator.errors import UserError
from spark_activator.imports import compose, recipes, settings, shell
from spark_activator.imports.bounded import is_small
from spark_activator.imports.draft import Draft

# More than any recipe or compose file has.
LIMIT = 1 << 20
_KNOWN = (
    "a recipe of local-ai-inference-recipes, sparkrun or spark-vllm-docker, a docker compose "
    "file, or a 'vllm serve' line"
)


def drafts(text: str, *, origin: str, environment: Mapping[str, str] | None = None) -> list[Draft]:
    """Read *text*: one draft for a recipe or a command line, several for a compose file.

    Args:
        text: What is in the file, or was pasted.
        origin: What to call it.
        environment: What `${NAME}` of a compose file is.

    Raises:
        UserError: It is none of the known kinds, or serves nothing with vLLM.
    """
    if len(text) > LIMIT:
        raise UserError(f"{origin}: expected at most {LIMIT} characters, got {len(text)}")
    try:
        found = _document(text, origin, environment or {})
        if found is None:
            draft = Draft(origin=origin)
            shell.read(shell.words(text), draft)
            found = [draft]
    except shell.NoServe as error:
        raise UserError(f"{origin}: {error}", hint=f"it reads {_KNOWN}") from None
    if not found:
        raise UserError(f"{origin}: no service of it runs 'vllm serve'", hint=f"it reads {_KNOWN}")
    for draft in found:
        settings.caches(draft)
    return found


def _document(text: str, origin: str, environment: Mapping[str, str]) -> list[Draft] | None:
    """Read *text* as YAML; None where it is a command line."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if "vllm" in text and "services:" not in text and "recipe_version" not in text:
            return None
        first = str(error).splitlines()[0]
        raise UserError(f"{origin}: expected YAML: {first}", hint=f"it reads {_KNOWN}") from None
    if not isinstance(document, Mapping):
        return None
    if not is_small(document):
        raise UserError(
            f"{origin}: expected a document without endless numbers, or anchors within anchors"
        )
    if isinstance(document.get("services"), Mapping):
        return compose.drafts(document, origin=origin, environment=environment)
    return _recipe(document, origin)


def _recipe(document: Mapping[str, Any], origin: str) -> list[Draft] | None:
    if "schema_version" in document and "serve" in document:
        return [recipes.nvidia(document, origin=origin)]
    version = str(document.get("recipe_version", ""))
    # sparkrun takes recipes without a version as well.
    plain = "model" in document and {"runtime", "container", "defaults"} & document.keys()
    if version.startswith("2") or (plain and not version):
        return [recipes.sparkrun(document, origin=origin)]
    if version.startswith("1"):
        return [recipes.eugr(document, origin=origin)]
    if version:
        raise UserError(f"{origin}: recipe_version: expected 1 or 2, got {version!r}")
    return None

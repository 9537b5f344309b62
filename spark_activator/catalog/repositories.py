"""What an engine reads of a hub cache: the repositories of a model, each with its revision."""

from __future__ import annotations

from spark_activator.catalog.model import Engine, Model


def repositories(model: Model) -> tuple[tuple[str, str | None], ...]:
    """Return the hub's repositories that the engine of *model* reads, its own first.

    Nothing where it is no engine that we give a hub cache, or reads a directory.
    """
    source = model.source
    if model.engine not in (Engine.VLLM, Engine.SGLANG) or source.model.startswith("/"):
        return ()
    drafts = tuple((draft, None) for draft in source.drafts if not draft.startswith("/"))
    return ((source.model, source.revision), *drafts)

"""The models that names on the command line mean, as their files have them now."""

from __future__ import annotations

import contextlib
import difflib
import sys

from spark_activator.catalog.load import Catalog, load_catalog, load_retired
from spark_activator.catalog.model import Model
from spark_activator.cli import models
from spark_activator.errors import UserError
from spark_activator.layout import Layout


def model(layout: Layout, name: str) -> Model:
    """Return the model *name* of the catalog or the owner, disabled or not.

    Raises:
        UserError: There is none, or its file has problems.
    """
    catalog = load_catalog(layout)
    found = catalog.models.get(name)
    if found is not None:
        return found
    if name in catalog.files:
        for problem in catalog.problems:
            if problem.file == catalog.files[name]:
                print(problem, file=sys.stderr)
        raise UserError(f"the file of '{name}' has problems", hint="see: spark-model check")
    retired = load_retired(layout)[0].get(name)
    if retired is not None:
        hint = f"instead: {retired.instead}" if retired.instead else None
        raise UserError(f"'{name}' is a model no more: {retired.reason}", hint=hint)
    near = difflib.get_close_matches(name, catalog.models, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see: spark-model list"
    raise UserError(f"unknown model '{name}'", hint=hint)


def all_models(layout: Layout, catalog: Catalog) -> list[Model]:
    """Return what may be asked for: as files have it now, and as it was frozen."""
    found = list(catalog.models.values())
    for name in models.names(layout):
        with contextlib.suppress(UserError):
            found.append(models.load(layout, name))
    return found

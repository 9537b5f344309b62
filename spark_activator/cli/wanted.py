"""The models that names on the command line mean, as their files have them now."""

from __future__ import annotations

import contextlib
import sys

from spark_activator.catalog.load import Catalog, load_catalog, load_retired
from spark_activator.catalog.model import Model
from spark_activator.cli import models
from spark_activator.errors import UserError
from spark_activator.layout import Layout


def model(layout: Layout, name: str) -> Model:
    """Return the model *name* of the catalog or the owner, disabled or not.

    *name* may be an alias or a preset of it, as in a request.

    Raises:
        UserError: There is none, or its file has problems.
    """
    return find(layout, load_catalog(layout), name)


def find(layout: Layout, catalog: Catalog, name: str) -> Model:
    """Return the model of *catalog* that *name* means, as `model` does."""
    found = catalog.models.get(name)
    if found is not None:
        return found
    if name in catalog.files:
        for problem in catalog.problems:
            if problem.file == catalog.files[name]:
                print(problem, file=sys.stderr)
        raise UserError(f"the file of '{name}' has problems", hint="see: spark-model check")
    named = next((one for one in catalog.models.values() if name in one.names), None)
    if named is not None:
        return named
    models.refuse_retired(layout, name)
    known = {*catalog.files, *load_retired(layout)[0], *models.names(layout)}
    raise models.unknown(name, sorted(known))


def all_models(layout: Layout, catalog: Catalog) -> list[Model]:
    """Return what may be asked for: as files have it now, and as it was frozen."""
    found = list(catalog.models.values())
    for name in models.names(layout):
        with contextlib.suppress(UserError):
            found.append(models.load(layout, name))
    return found


def unreadable(layout: Layout, catalog: Catalog) -> list[str]:
    """Name the models of which nobody knows what they use: neither file nor frozen is right."""
    readable = {one.name for one in all_models(layout, catalog)}
    return sorted({*catalog.files, *models.names(layout)} - readable)

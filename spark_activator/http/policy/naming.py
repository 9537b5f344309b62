"""What a request calls the model, on the model's own port."""

from __future__ import annotations

from typing import Final

from spark_activator.catalog.model import Model
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.strict import Fields

# nginx has chosen a model for it; engines know themselves by name only.
AUTO: Final = "auto"


def name_model(fields: Fields, _: Endpoint, model: Model) -> Fields:
    """Have `auto` be the model's own name; whatever else is asked for, the engine knows better."""
    if fields.get("model") != AUTO or AUTO in model.names:
        return fields
    return {**fields, "model": model.name}

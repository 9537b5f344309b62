"""The whole policy: a request's bytes in, a `Decision` out."""

from __future__ import annotations

from spark_activator.catalog.model import Model
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.decision import Decision


def decide(body: bytes, endpoint: Endpoint, model: Model) -> Decision:
    """Apply the rules of *model* to the JSON *body* of a request.

    Raises:
        Refusal: It is not strict JSON, or asks for what is not served.
    """
    del endpoint, model
    return Decision(body)

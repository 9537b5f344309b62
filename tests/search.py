"""How long hypothesis looks for a counterexample."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# Against a mutant one counterexample is enough, however long it is.
SEARCH = (
    settings(
        max_examples=400, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )
    if "SPARK_MUTANT" in os.environ
    else settings(max_examples=200, deadline=None)
)  # fmt: skip

"""How long hypothesis looks for a counterexample."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# A sample in most runs, all where hours are spent.
EXAMPLES = 200 if os.environ.get("SPARK_TESTS") == "long" else 60
# Against a mutant one counterexample is enough, however long it is.
SEARCH = (
    settings(
        max_examples=400, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )
    if "SPARK_MUTANT" in os.environ
    else settings(max_examples=EXAMPLES, deadline=None)
)  # fmt: skip

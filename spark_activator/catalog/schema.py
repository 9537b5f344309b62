"""The JSON schema of model files, for editors: generated from the parser's own records.

`python -m spark_activator.catalog.schema` prints what is shipped as
model.schema.json beside this file.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from spark_activator.catalog import modelfile, rules


def json_schema(*, vendor: bool = False) -> dict[str, Any]:
    """Describe the owner's model files, or those of the catalog."""
    body = modelfile.table(vendor=vendor).schema()
    complete = rules.schema()
    # What a file leaves out may be in the one that it extends.
    extends = {"required": ["extends"], "properties": {"extends": {"type": "string"}}}
    complete = {"if": {"not": extends}, "then": complete}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Model file of spark-activator",
        **body,
        **({"required": ["port"]} if vendor else {}),
        "allOf": [complete],
    }


def text() -> str:
    """Write the owner's schema as it is shipped."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())

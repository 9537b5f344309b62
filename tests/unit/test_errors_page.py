"""docs/errors.md is the table of refusals, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

from spark_activator.errors import REFUSALS

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_page_has_every_code_with_its_status() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", PAGE.read_text(), re.MULTILINE)

    assert len(rows) == len({code for code, _status in rows})
    assert {code: int(status) for code, status in rows} == {
        code: kind.status for code, kind in REFUSALS.items()
    }


def test_what_a_retry_cannot_mend_has_no_retry_after() -> None:
    for code, kind in REFUSALS.items():
        assert (kind.retry_after is not None) == (kind.status in (429, 502, 503, 504)), code

"""The documents name files that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", document.read_text("utf-8"))

    assert [link for link in links if not (document.parent / link).exists()] == []


def test_architecture_names_modules_that_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", text))

    assert named
    places = (ROOT / "spark_activator", ROOT)
    assert [file for file in named if not any((place / file).exists() for place in places)] == []

"""The documents name files that are there, and show what a command really says."""

import re
from pathlib import Path

import catalog_shipped
import pytest

from spark_activator.catalog.model import StatusKind
from spark_activator.cli import check
from spark_activator.layout import Layout

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


def test_files_of_models_in_the_readme_are_good_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    files = re.findall(r"```yaml\n# /etc/spark-activator/models/(\S+)\n(.*?)```", readme, re.DOTALL)
    layout = Layout(tmp_path / "etc", tmp_path / "var", tmp_path / "run", tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "images.yaml").symlink_to(ROOT / "images/images.yaml")
    layout.owner_models.mkdir(parents=True)
    # `check` is typed when there is the first of them.
    (layout.owner_models / files[0][0]).write_text(files[0][1])

    assert check.run(layout, []) == 0
    assert f"$ spark-model check\n{capsys.readouterr().out}" in readme
    for name, text in files:
        (layout.owner_models / name).write_text(text)
    assert check.run(layout, []) == 0, capsys.readouterr().out
    assert len(files) == 3


def test_the_readme_counts_the_models_that_can_listen() -> None:
    usable = [
        model
        for model in catalog_shipped.models().values()
        if model.status.kind is not StatusKind.DISABLED
    ]
    counted = re.findall(r"2 of (\d+) listen", (ROOT / "README.md").read_text("utf-8"))

    assert set(counted) == {str(len(usable))}


def test_every_page_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    read_on = readme[readme.index("## Read on") : readme.index("## Limits")]

    pages = {f"docs/{page.name}" for page in (ROOT / "docs").iterdir()}
    assert pages == set(re.findall(r"\]\((docs/[^)]+)\)", read_on))

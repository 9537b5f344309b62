"""Dependencies point down, and pure modules stay pure."""

from pathlib import Path

import pytest
from import_rules import PACKAGE, violations

ROOT = Path(__file__).parents[2]


def plant(tmp_path: Path, files: dict[str, str]) -> list[str]:
    package = tmp_path / PACKAGE
    for name, text in {"__init__.py": "", **files}.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return violations(package)


def test_the_package_keeps_the_rules() -> None:
    assert violations(ROOT / PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("errors.py", "from spark_activator import layout"),
        ("catalog/model.py", "import os.path"),
        ("catalog/model.py", "def later():\n    import time"),
        ("http/head.py", "from trio import Cancelled"),
        ("runner/plan.py", "from socket import socket"),
        ("activator/main.py", "from ..runner import plan"),
        ("activator/main.py", "import yaml"),
        ("runner/main.py", "from spark_activator.activator import relay"),
        ("demo/server.py", "from spark_activator import errors"),
        ("utils.py", ""),
    ],
)
def test_a_breach_is_named(tmp_path: Path, file: str, text: str) -> None:
    base = {
        "layout.py": "", "errors.py": "", "runner/plan.py": "", "activator/relay.py": "",
    }  # fmt: skip

    found = plant(tmp_path, {**base, file: text})

    module = ".".join([PACKAGE, *Path(file).with_suffix("").parts])
    assert found
    assert all(complaint.startswith(f"{module}:") for complaint in found), found


def test_what_is_out_of_reach_is_found_through_other_modules(tmp_path: Path) -> None:
    # The activator may import the catalog, but not the part of it that reads YAML.
    found = plant(
        tmp_path,
        {
            "catalog/__init__.py": "from spark_activator.catalog import modelfile",
            "catalog/modelfile.py": "import yaml",
            "catalog/frozen.py": "",
            "activator/main.py": "from spark_activator.catalog import frozen",
        },
    )

    assert found == ["spark_activator.activator.main: reaches yaml"]


def test_the_edge_may_do_what_its_pure_neighbours_may_not(tmp_path: Path) -> None:
    assert plant(tmp_path, {"catalog/load.py": "import os"}) == []
    assert plant(tmp_path, {"catalog/model.py": "from spark_activator.catalog import load"})

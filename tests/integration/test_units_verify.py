"""Units as systemd reads them: instances with their drop-ins, and any output is a failure.

`systemd-analyze verify` exits with 0 on keys that it does not know, so the exit
status says nothing.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from spark_activator.catalog.model import Engine, Model, Source, Timeouts
from spark_activator.render.units import drop_ins

UNITS = Path(__file__).parents[2] / "units"
pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)

# Names that are valid and unpleasant; a model with everything that is rendered.
MODELS = [
    Model("qwen3.6-35b", 18100, Engine.VLLM, Source("a/b"), 1 << 30),
    Model("demo_echo", 18101, Engine.PROCESS, Source("a/b"), 1 << 30, timeouts=Timeouts(drain=5.0)),
]


def systemd_version() -> int:
    text = subprocess.run(
        ["systemctl", "--version"], check=True, capture_output=True, text=True
    ).stdout
    return int(text.split()[1])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What install.sh puts into systemd's directory on this version, and `apply` beside it."""
    python = tmp_path / "prefix/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    units = tmp_path / "units"
    units.mkdir()
    for template in UNITS.iterdir():
        if re.fullmatch(r"spark-.*\.(socket|service|timer|path)", template.name):
            text = template.read_text()
            text = text.replace("@PREFIX@", str(tmp_path / "prefix"))
            text = text.replace("@NGINX_CONF@", str(tmp_path / "nginx.conf"))
            (units / template.name).write_text(text)
    shutil.copytree(UNITS / "system", units, dirs_exist_ok=True)
    for version in (254, 255):
        if systemd_version() >= version:
            shutil.copytree(UNITS / f"v{version}", units, dirs_exist_ok=True)
    for model in MODELS:
        for path, text in drop_ins(model).items():
            file = units / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
    return units


def instances(units: Path) -> list[str]:
    files = [path.name for path in units.iterdir() if path.is_file()]
    return sorted(name.replace("@.", f"@{model.name}.") for name in files for model in MODELS)


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A short path, as a user's runtime directory has: sockets' paths are limited.
    with tempfile.TemporaryDirectory() as runtime:
        return subprocess.run(
            ["systemd-analyze", *arguments],
            # Units are also looked for in the current directory.
            cwd=units,
            env=os.environ | {"SYSTEMD_UNIT_PATH": f"{units}:", "XDG_RUNTIME_DIR": runtime},
            check=False,
            capture_output=True,
            text=True,
        )


def complaints(units: Path, *options: str) -> str:
    # A machine that only runs the other tests may not have nginx.
    names = set(instances(units))
    if not Path("/usr/sbin/nginx").exists():
        names.discard("spark-nginx.service")
    result = analyze(units, "verify", "--man=no", *options, *sorted(names))
    return result.stdout + result.stderr + ("" if result.returncode == 0 else "failed")


def test_system_instances_verify_without_a_word(installed: Path) -> None:
    assert complaints(installed) == ""


def test_templates_verify_for_a_user_manager_without_a_word(installed: Path) -> None:
    for name in ("system", "user"):
        for drop_in in (UNITS / name).iterdir():
            shutil.rmtree(installed / drop_in.name, ignore_errors=True)
    shutil.copytree(UNITS / "user", installed, dirs_exist_ok=True)

    assert complaints(installed, "--user") == ""


@pytest.mark.parametrize(
    "drop_in",
    ["spark-model@.service.d/10-system.conf", "spark-model@qwen3.6-35b.socket.d/10-port.conf"],
)
def test_a_wrong_key_in_a_drop_in_is_noticed(installed: Path, drop_in: str) -> None:
    with (installed / drop_in).open("a") as stream:
        stream.write("NoDelai=yes\n")

    assert "NoDelai" in complaints(installed)


# The goals of the design, in tenths, as systemd-analyze counts; the others are
# kept where they are.
@pytest.mark.parametrize(
    ("unit", "threshold"),
    [
        ("spark-model@qwen3.6-35b.service", 15),
        ("spark-runner@qwen3.6-35b.service", 25),
        ("spark-reaper@qwen3.6-35b.service", 25),
        ("spark-tcp@qwen3.6-35b.service", 15),
        ("spark-models.service", 15),
        ("spark-nginx.service", 20),
        ("spark-drop-caches@demo_echo.service", 25),
        ("spark-engine@demo_echo.service", 40),
    ],
)
def test_exposure_is_below_its_threshold(installed: Path, unit: str, threshold: int) -> None:
    result = analyze(installed, "security", "--offline=true", f"--threshold={threshold}", unit)

    assert result.returncode == 0, result.stdout + result.stderr


def test_exposure_of_a_unit_without_its_drop_in_is_above(installed: Path) -> None:
    shutil.rmtree(installed / "spark-model@.service.d")

    result = analyze(
        installed, "security", "--offline=true", "--threshold=15", "spark-model@qwen3.6-35b.service"
    )

    assert result.returncode != 0


def test_names_are_not_escaped_in_units() -> None:
    # %i is what stands in the unit's name; %I would unescape '-' to '/'.
    users = [path.name for path in UNITS.rglob("*") if path.is_file() and "%I" in _code(path)]

    assert users == []


def _code(path: Path) -> str:
    return "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))

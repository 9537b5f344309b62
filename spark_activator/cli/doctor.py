"""`spark-model doctor`: what is wrong with this machine, and the command that mends it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.doctor.checks import Finding


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    sub = command(
        commands, "doctor", "what is wrong with this machine, and the command that mends it", _run
    )
    sub.add_argument("--json", action="store_true", help="for programs")


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.doctor import checks

    found = checks.examine(layout, units)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        for finding in found:
            print(line(finding))
        print(total(found))
    return 1 if any(finding.level == "problem" for finding in found) else 0


def line(finding: Finding) -> str:
    """Say *finding* to a person, with its remedy below."""
    text = f"{finding.level:<8}{finding.check}: {finding.says}"
    return f"{text}\n{'':8}  -> {finding.mend}" if finding.mend else text


def total(found: list[Finding]) -> str:
    """Say how many of *found* are not well."""
    if all(finding.level == "ok" for finding in found):
        return "all is well"
    return f"{_count(found, 'problem')}, {_count(found, 'note')}"


def _count(found: list[Finding], level: str) -> str:
    count = sum(finding.level == level for finding in found)
    return f"{count} {level}{'' if count == 1 else 's'}"

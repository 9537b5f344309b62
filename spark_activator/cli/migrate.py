"""`spark-model migrate`: take over a checkout of dgx-spark-inference-stack."""

from __future__ import annotations

import argparse

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    command(commands, "migrate", "take over a checkout of dgx-spark-inference-stack", _run)


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    raise UserError("'migrate' is not there yet")

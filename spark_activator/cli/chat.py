"""`spark-model chat`: a conversation in the terminal."""

from __future__ import annotations

import argparse

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    command(commands, "chat", "a conversation in the terminal", _run)


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    raise UserError("'chat' is not there yet")

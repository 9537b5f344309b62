"""`spark-model migrate`: take over a checkout of dgx-spark-inference-stack."""

from __future__ import annotations

import argparse

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.layout import Layout


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    sub = command(
        commands, "migrate", "take over a checkout of dgx-spark-inference-stack (needs root)", _run
    )
    sub.add_argument("directory", metavar="DIR", help="the checkout; nothing in it is changed")
    sub.add_argument("--dry-run", action="store_true", help="show what it would do, change nothing")


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    # Most of what it needs no other command does.
    from spark_activator.cli import takeover

    return takeover.run(layout, arguments.directory, dry_run=arguments.dry_run)

"""What the parsers of all commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from spark_activator.cli.units import Units
from spark_activator.layout import Layout

Call = Callable[[argparse.Namespace, Layout, Units], int]
Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it


def command(
    commands: Commands[argparse.ArgumentParser], name: str, text: str, call: Call
) -> argparse.ArgumentParser:
    """Add the command *name* to *commands*; *text* is its help, *call* what it does."""
    sub = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(call=call)
    return sub

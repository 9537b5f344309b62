"""The commands by which other programs, and the owner, have their share of the GPU."""

from __future__ import annotations

import argparse

from spark_activator.catalog.quantities import parse_duration, parse_size
from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add them to *commands*."""
    text = "GPU memory for other programs: run, hold, show"
    sub = commands.add_parser("lease", help=text, description=text)
    _leases(sub.add_subparsers(title="commands", required=True, metavar="COMMAND"))

    sub = command(commands, "pause", "give me my GPU: models go, and nobody gets it", _pause)
    _duration(sub, "--for", "span", "how long; without it until 'resume'")

    command(commands, "resume", "end a pause", _resume)

    sub = command(commands, "what-if", "what a request would start, and evict", _what_if)
    sub.add_argument("names", nargs="+", metavar="NAME", help="asked for one after the other")
    sub.add_argument("--json", action="store_true", help="for programs")


def _leases(commands: Commands[argparse.ArgumentParser]) -> None:
    sub = command(commands, "run", "run a program when its memory is there", _run)
    _wish(sub)
    sub.add_argument("--name", metavar="NAME", help="what others see; default: the program's")
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND…")

    sub = command(commands, "hold", "keep memory free of models, until Ctrl-C", _hold)
    _wish(sub)
    _duration(sub, "--for", "span", "how long, such as 2h", required=True)

    sub = command(commands, "show", "who has what, who waits, since when and why", _show)
    sub.add_argument("--json", action="store_true", help="for programs")


def _wish(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--memory", type=_size, required=True, metavar="SIZE", help="GPU memory, such as 40GiB"
    )
    sub.add_argument("--exclusive", action="store_true", help="nobody else at the same time")
    _duration(sub, "--wait-timeout", "timeout", "wait no longer than, such as 10min")


def _duration(
    sub: argparse.ArgumentParser, flag: str, dest: str, text: str, *, required: bool = False
) -> None:
    sub.add_argument(
        flag, dest=dest, type=_seconds, required=required, metavar="DURATION", help=text
    )


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


# Each imports what it needs when it is called: most of it is of no use to the others.


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import lease

    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        raise UserError("no command to run", hint="lease run --memory SIZE -- COMMAND…")
    wish = lease.Wish(arguments.memory, arguments.exclusive, arguments.timeout)
    return lease.run(layout, wish, argv, arguments.name)


def _hold(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import lease

    wish = lease.Wish(arguments.memory, arguments.exclusive, arguments.timeout)
    return lease.hold(layout, wish, arguments.span)


def _show(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import leases

    return leases.run(layout, as_json=arguments.json)


def _pause(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import pause

    return pause.begin(layout, arguments.span)


def _resume(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import pause

    return pause.end(layout)


def _what_if(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import what_if

    return what_if.run(layout, arguments.names, as_json=arguments.json)

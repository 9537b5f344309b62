"""The commands that say who may come in."""

from __future__ import annotations

import argparse

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.layout import Layout


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add them to *commands*."""
    text = "API keys: with the first one, every request needs one"
    sub = commands.add_parser("key", help=text, description=text)
    _keys(sub.add_subparsers(title="commands", required=True, metavar="COMMAND"))

    text = "names by which this machine may be asked"
    sub = commands.add_parser("host", help=text, description=text)
    _hosts(sub.add_subparsers(title="commands", required=True, metavar="COMMAND"))


def _keys(commands: Commands[argparse.ArgumentParser]) -> None:
    sub = command(commands, "add", "make a key, and print it this once (needs root)", _add_key)
    sub.add_argument("name", metavar="NAME", help="what you call it: who or what has it")
    sub.add_argument(
        "--models", type=_list, metavar="A,B", help="it opens these alone; default: all"
    )
    sub.add_argument(
        "--admin", action="store_true", help="it may also warm, stop, pause and see /debug"
    )
    sub.add_argument(
        "--stdin", action="store_true", help="keep a key that exists: one line of standard input"
    )

    sub = command(commands, "list", "keys, and what each has used (needs root)", _list_keys)
    sub.add_argument("--json", action="store_true", help="for programs")

    sub = command(commands, "remove", "take a key away, at once (needs root)", _remove_key)
    sub.add_argument("name", metavar="NAME")


def _hosts(commands: Commands[argparse.ArgumentParser]) -> None:
    sub = command(commands, "add", "allow a name (needs root)", _add_host)
    sub.add_argument("name", metavar="NAME", help="such as llm.example.org")

    command(commands, "list", "all names that are allowed", _list_hosts)

    sub = command(commands, "remove", "allow a name no more (needs root)", _remove_host)
    sub.add_argument("name", metavar="NAME")


def _list(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between, got {text!r}")
    return names


# Each imports what it needs when it is called: most of it is of no use to the others.


def _add_key(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import key

    return key.add(
        layout,
        name=arguments.name,
        opens=arguments.models,
        admin=arguments.admin,
        from_stdin=arguments.stdin,
    )


def _list_keys(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import key

    return key.show_all(layout, as_json=arguments.json)


def _remove_key(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import key

    return key.remove(layout, name=arguments.name)


def _add_host(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import host

    return host.add(layout, arguments.name)


def _list_hosts(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import host

    return host.show_all(layout)


def _remove_host(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import host

    return host.remove(layout, arguments.name)

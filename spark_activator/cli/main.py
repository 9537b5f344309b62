"""Arguments in, exit status out: 0 done, 1 the user has to act, 2 wrong arguments."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from spark_activator import __version__
from spark_activator.cli import (
    access,
    add,
    chat,
    client,
    disk,
    doctor,
    enable,
    files,
    image,
    logs,
    migrate,
    overview,
    pull,
    remove,
    reset,
    routes,
    sharing,
    show,
    status,
    stop,
    warm,
)
from spark_activator.cli.arguments import Call, Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import SparkError, UserError
from spark_activator.layout import Layout


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and say the exit status."""
    try:
        return _run(_parser().parse_args(argv))
    except SparkError as error:
        hint = f" (hint: {error.hint})" if error.hint else ""
        print(f"spark-model: {error.message}{hint}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read us has seen enough.  The interpreter flushes once more
        # when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(arguments: argparse.Namespace) -> int:
    call: Call = arguments.call
    try:
        units = Units.of(user=arguments.user, directory=arguments.unit_dir)
        code = call(arguments, Layout.from_environment(os.environ), units)
        sys.stdout.flush()
        return code
    except PermissionError as error:
        raise UserError(
            f"{error.filename}: permission denied",
            hint="use sudo; or, to look and stop, join the group: "
            "sudo usermod -aG spark-activator USER, and log in again",
        ) from error
    except OSError as error:
        if error.errno in files.DISK_FULL:
            raise UserError(
                os.strerror(error.errno).lower(),
                hint="make room, see: df -h and spark-model disk",
            ) from error
        if error.errno in files.UNUSABLE and error.filename is not None:
            raise UserError(f"{error.filename}: {os.strerror(error.errno).lower()}") from error
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spark-model", description="Language models that start when asked, and go away."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--user", action="store_true", help="ask your own systemd manager, not the system's"
    )
    parser.add_argument("--unit-dir", metavar="DIR", help="where units lie, if elsewhere")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _looking(commands)
    _changing(commands)
    for module in (enable, show, pull, remove, disk, image, chat, add, migrate, client, doctor):
        module.add(commands)
    sharing.add(commands)
    access.add(commands)
    return parser


def _looking(commands: Commands[argparse.ArgumentParser]) -> None:
    sub = command(commands, "list", "every model that may run", _list)
    sub.add_argument("--json", action="store_true", help="for programs")

    sub = command(commands, "status", "where models are, and what they wait for", _status)
    sub.add_argument("name", nargs="?", metavar="NAME")
    sub.add_argument("--json", action="store_true", help="for programs")

    sub = command(commands, "logs", "the journal of activator, runner and engine", _logs)
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    sub.add_argument("-n", "--lines", type=int, help="the last so many lines")

    sub = command(commands, "check", "whether model files and host settings are right", _check)
    sub.add_argument("files", nargs="*", metavar="FILE", help="default: all that are installed")


def _changing(commands: Commands[argparse.ArgumentParser]) -> None:
    sub = command(commands, "stop", "end the engine; the next request starts it again", _stop)
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--hold", action="store_true", help="and refuse requests until 'warm'")

    sub = command(commands, "warm", "start the engine, and return when it is ready", _warm)
    sub.add_argument("name", metavar="NAME")

    sub = command(commands, "reset", "forget failed starts, so that it is tried again", _reset)
    sub.add_argument("name", metavar="NAME")
    sub.add_argument(
        "--cache", action="store_true", help="also remove its image's compile caches (needs root)"
    )

    sub = command(commands, "apply", "freeze model files, write ports (needs root)", _apply)
    sub.add_argument("--dry-run", action="store_true", help="show the difference, change nothing")

    sub = command(commands, "update", "apply to a model that is switched on (needs root)", _update)
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", metavar="NAME")
    which.add_argument("--nginx", action="store_true", help="to nginx: the addresses it listens on")
    sub.add_argument("--dry-run", action="store_true", help="show the difference, change nothing")

    command(commands, "routes", "write nginx's list (units do this)", _routes)


def _list(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    return overview.run(layout, units, as_json=arguments.json)


def _status(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    return status.run(layout, units, name=arguments.name, as_json=arguments.json)


def _logs(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    logs.run(
        layout,
        name=arguments.name,
        follow=arguments.follow,
        lines=arguments.lines,
        user=units.user,
    )


def _stop(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    return stop.run(layout, name=arguments.name, hold=arguments.hold)


def _warm(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    return warm.run(layout, name=arguments.name)


def _reset(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    return reset.run(layout, name=arguments.name, cache=arguments.cache)


def _routes(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    return routes.run(layout)


# The next three read YAML: looking at a model does not wait for that import.


def _check(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import check

    return check.run(layout, arguments.files)


def _apply(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import apply

    return apply.run(layout, units, dry_run=arguments.dry_run)


def _update(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import update

    if arguments.nginx:
        return update.run_nginx(layout, units, dry_run=arguments.dry_run)
    return update.run(layout, units, name=arguments.name, dry_run=arguments.dry_run)

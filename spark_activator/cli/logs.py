"""`spark-model logs NAME`: the journal of activator, runner and engine, in order."""

from __future__ import annotations

import os
from typing import NoReturn

from spark_activator.cli import models
from spark_activator.errors import UserError
from spark_activator.layout import Layout
from spark_activator.render import units


def run(layout: Layout, *, name: str, follow: bool, lines: int | None, user: bool) -> NoReturn:
    """Become journalctl.

    Raises:
        UserError: There is no such model, or no journalctl.
    """
    models.require(layout, name)
    command = journalctl(name, follow=follow, lines=lines, user=user)
    try:
        os.execvp(command[0], command)  # noqa: S606  # a list, and journalctl pages by itself
    except FileNotFoundError as error:
        raise UserError("journalctl is not installed", hint="logs need systemd-journald") from error


def journalctl(name: str, *, follow: bool, lines: int | None, user: bool) -> list[str]:
    """Say the command that shows everything that belongs to *name*.

    What a unit's processes say and what systemd says of the unit are different
    fields; the container's lines carry its name, where Docker logs to journald.
    """
    own, about = ("_SYSTEMD_USER_UNIT", "USER_UNIT") if user else ("_SYSTEMD_UNIT", "UNIT")
    matches = [f"CONTAINER_NAME=spark-{name}"]
    for unit in (
        units.socket_unit(name),
        *units.service_units(name),
        f"spark-reaper@{name}.service",
    ):
        matches += ["+", f"{own}={unit}", "+", f"{about}={unit}"]
    options = ["--output=short-precise"]
    if follow:
        options.append("--follow")
    if lines is not None:
        options.append(f"--lines={lines}")
    return ["journalctl", *options, *matches]

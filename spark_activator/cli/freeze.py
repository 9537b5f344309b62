"""What `apply` and `update` write for one model: its frozen file and its drop-ins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from spark_activator.catalog import frozen
from spark_activator.catalog.load import load_host
from spark_activator.catalog.model import Model
from spark_activator.cli import files
from spark_activator.cli.units import Units
from spark_activator.errors import FileProblems, Problem, UserError
from spark_activator.layout import Layout
from spark_activator.render.changes import Change, changes
from spark_activator.render.units import (
    NGINX_PATHS,
    drop_in_paths,
    drop_ins,
    nginx_listen,
    nginx_units,
)

# A model's environment may hold a token: its owner and the group may read it.
FROZEN_MODE = 0o640
# systemd reads units as root, but whoever asks `systemctl cat` may see them.
DROP_IN_MODE = 0o644


def pending(
    layout: Layout, units: Units, model: Model, listen: Sequence[str]
) -> tuple[Change, ...]:
    """Say what has to be written so that systemd and the runner see *model* as it is.

    *listen* are the addresses that models listen on.
    """
    texts = drop_ins(model, listen=listen)
    wanted: dict[str, str | None] = {str(layout.frozen(model.name)): frozen.dump(model)}
    wanted |= {str(units.directory / path): texts.get(path) for path in drop_in_paths(model.name)}
    return changes(_present(wanted), wanted)


def removal(layout: Layout, units: Units, name: str) -> tuple[Change, ...]:
    """Say what has to go so that nothing of *name* is left."""
    wanted: dict[str, str | None] = {str(layout.frozen(name)): None}
    wanted |= {str(units.directory / path): None for path in drop_in_paths(name)}
    return changes(_present(wanted), wanted)


def host_settings(layout: Layout) -> tuple[tuple[Change, ...], tuple[Problem, ...]]:
    """Say what has to be written so that runners see host.yaml; a broken one changes nothing."""
    try:
        wanted = {str(layout.frozen_host): frozen.dump_host(load_host(layout))}
    except FileProblems as error:
        return (), error.problems
    return changes(_present(wanted), wanted), ()


def nginx(layout: Layout, units: Units, listen: Sequence[str]) -> tuple[Change, ...]:
    """Say what has to be written so that nginx listens on *listen*."""
    texts = nginx_units(listen)
    wanted: dict[str, str | None] = {str(layout.nginx_listen): nginx_listen(listen)}
    wanted |= {str(units.directory / path): texts.get(path) for path in NGINX_PATHS}
    return changes(_present(wanted), wanted)


def is_frozen_file(layout: Layout, change: Change) -> bool:
    """Whether *change* is of a frozen model, not of a unit."""
    return Path(change.path).parent == layout.frozen("x").parent


def of_socket(change: Change) -> bool:
    """Whether *change* is of the unit that listens."""
    return ".socket.d/" in change.path


def carry_out(layout: Layout, todo: Iterable[Change]) -> None:
    """Write and remove files as *todo* says."""
    for change in todo:
        path = Path(change.path)
        if change.new is None:
            files.remove(path)
        else:
            mode = FROZEN_MODE if is_frozen_file(layout, change) else DROP_IN_MODE
            files.write(path, change.new, mode=mode)


def require_rights(layout: Layout, units: Units, *, command: str, can_try: bool = True) -> None:
    """Insist that files and units may be written, before the first one is.

    *can_try* says that the command has a `--dry-run`.

    Raises:
        UserError: They may not.
    """
    for directory in (layout.frozen("x").parent, units.directory):
        if not files.may_write(directory):
            other = ", or add --dry-run to see what it would do" if can_try else ""
            raise UserError(
                f"'{command}' writes below {directory}, which needs root",
                hint=f"run: sudo spark-model {command}{other}",
            )


def _present(paths: Iterable[str]) -> dict[str, str | None]:
    return {path: files.read_ours(Path(path)) for path in paths}

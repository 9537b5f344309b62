"""`spark-model reset NAME [--cache]`: forget failed starts, and the caches of the model's image."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from spark_activator.cli import control, models
from spark_activator.errors import EngineFailed, UserError
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.catalog.model import Model

# It writes one file.
ANSWER_LIMIT = 30.0
# What is being removed; no image's digest begins like this.
ASIDE = ".removed-"


def run(layout: Layout, *, name: str, cache: bool) -> int:
    """Have *name* started again at the next request.

    Raises:
        UserError: There is no such model, its runner cannot be asked, or its image is in use.
    """
    models.require(layout, name)
    if cache:
        if os.geteuid() != 0:
            raise UserError(
                "removing caches needs root", hint=f"run: sudo spark-model reset {name} --cache"
            )
        print(_remove_cache(layout, models.load(layout, name)))
    answer = control.ask(layout, name, "reset", ANSWER_LIMIT)
    if not answer.ok:
        raise UserError(answer.message)
    print(answer.message)
    return 0


def _remove_cache(layout: Layout, model: Model) -> str:
    import trio

    from spark_activator.runner.lock import Lock

    if model.image is None:
        raise UserError(f"'{model.name}' has no image, and so no cache of ours")
    # Containers are made under this lock: none comes between the look and the deed.
    lock = Lock(layout.gpu / "init.lock")
    if layout.gpu.is_dir() and not lock.take_nowait():
        raise UserError("an engine initialises right now", hint="see: spark-model status")
    try:
        digest, users = trio.run(_look, layout, model)
        return remove(layout, digest, users)
    except EngineFailed as failure:
        raise UserError(failure.message) from failure
    finally:
        lock.release()


async def _look(layout: Layout, model: Model) -> tuple[str, list[str]]:
    """Return the directory of the image's caches, and which models use it now."""
    from spark_activator.runner import machine, settings, spec
    from spark_activator.runner.dockerd import Dockerd

    assert model.image is not None
    dockerd = Dockerd(settings.load_host(layout).docker_host)
    image = await machine.look_at_image(model, dockerd)
    ours = [spec.MODEL_LABEL, f"{spec.RUN_LABEL}={layout.run}"]
    found = await dockerd.call(
        "list containers", lambda api: api.containers(all=True, filters={"label": ours})
    )
    users = sorted(
        str(entry["Labels"][spec.MODEL_LABEL]) for entry in found if entry["ImageID"] == image.id
    )
    return (model.image.digest or image.id).removeprefix("sha256:"), users


def remove(layout: Layout, digest: str, users: list[str]) -> str:
    """Remove the caches in *digest*, unless *users* run on it; say what was done.

    Raises:
        UserError: Somebody uses them, or they cannot be removed.
    """
    if users:
        names = ", ".join(f"'{name}'" for name in users)
        raise UserError(
            f"the caches are in use by {names}", hint=f"run: spark-model stop {users[0]}"
        )
    parent = layout.state / "cache"
    there = parent / digest
    # Engines can write into the directory, and not beside it.
    aside = parent / f"{ASIDE}{digest}.{os.getpid()}"
    try:
        there.rename(aside)
        words = f"removed {there}"
    except FileNotFoundError:
        words = "there are no caches to remove"
    except OSError as error:
        raise UserError(f"cannot remove {there}: {error.strerror}") from error
    # Also what another of us was interrupted with.
    for left in parent.glob(f"{ASIDE}*") if parent.is_dir() else ():
        _delete(left)
    return words


def _delete(path: Path) -> None:
    assert shutil.rmtree.avoids_symlink_attacks
    try:
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)
    except OSError as error:
        raise UserError(f"cannot remove {path}: {error.strerror}") from error

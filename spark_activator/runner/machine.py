"""What a container gets of this machine: directories, devices, weights."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from spark_activator import hub
from spark_activator.catalog.host import Gpu, HostSettings
from spark_activator.catalog.model import Model
from spark_activator.catalog.repositories import repositories
from spark_activator.errors import EngineFailed
from spark_activator.layout import Layout
from spark_activator.runner import spec, upstream
from spark_activator.runner.dockerd import Dockerd, Missing
from spark_activator.runner.memory import Gauge

JOURNALD = "/run/systemd/journal/socket"
# What the nvidia runtime would give, named, so that a daemon-reload leaves it.
GPU_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")


async def prepare(
    model: Model,
    image: spec.ImageFacts,
    activation: str,
    *,
    layout: Layout,
    host: HostSettings,
    dockerd: Dockerd,
) -> spec.Machine:
    """Make the directories of *activation* and say what its container gets.

    Raises:
        EngineFailed: Weights are missing, Docker is away, or a directory cannot be made.
    """
    assert model.image is not None
    cache_of_hub = find_hub(model, hub.places(host.hub_caches, layout.hub_cache))
    gpu = Gpu.NONE if model.image.cpu else await _choose_gpu(host, dockerd)
    digest = (model.image.digest or image.id).removeprefix("sha256:")
    require_files(model, layout)
    parent = layout.upstream(model.name)
    try:
        cache = upstream.shared_directory(layout.state / "cache", digest)
        group = upstream.make(parent, activation)
    except OSError as error:
        raise EngineFailed(
            "state_unwritable", f"cannot make the engine's directories: {error.strerror}"
        ) from error
    return spec.Machine(
        run=str(layout.run),
        upstream=str(parent / activation),
        group=group,
        cache=str(cache),
        files=str(layout.state / "files"),
        memory=Gauge(layout.proc, host).read().leased.total,
        hub=cache_of_hub,
        gpu=gpu,
        nodes=_gpu_nodes() if gpu is Gpu.RUNTIME else (),
        journald=_exists(JOURNALD),
    )


async def look_at_image(model: Model, dockerd: Dockerd) -> spec.ImageFacts:
    """Return what Docker says of the image of *model*.

    Raises:
        EngineFailed: It is not on this machine, or Docker is away.
    """
    assert model.image is not None
    wanted = model.image.pull_spec
    try:
        image = await dockerd.call(
            "look at the image",
            lambda api: api.inspect_image(wanted),  # type: ignore[no-untyped-call]  # docker has no types
        )
    except Missing as error:
        raise image_missing(model) from error
    config = image.get("Config") or {}
    return spec.ImageFacts(
        str(image["Id"]), tuple(config.get("Entrypoint") or ()), tuple(config.get("Cmd") or ())
    )


def image_missing(model: Model) -> EngineFailed:
    """Say that the image of *model* is not there, and how to get it."""
    assert model.image is not None
    # Nothing of the catalog is pulled from where Docker's own images are; the command
    # says so where the guess is wrong.
    way = "pull" if "/" in model.image.reference else "build"
    return EngineFailed(
        "image_missing",
        f"the image of '{model.name}' is not on this machine "
        f"(run: sudo spark-model image {way} {model.image.name})",
    )


def find_hub(model: Model, caches: tuple[str, ...]) -> str | None:
    """Return the hub cache that has the weights of *model*, None where none is needed.

    Half a download counts as none: an engine would say so only after minutes.
    A cache that we may not look into (somebody's home) is taken at its word when
    no other has them: Docker can mount it, and the engine says what is missing.

    Raises:
        EngineFailed: None of *caches* has them.
    """
    wanted = repositories(model)
    if not wanted:
        # It may know what to do with one.
        return next((place for place in caches if _seen(place) is not False), None)
    seen = {place: hub.has_all(place, wanted) for place in caches}
    for answer in (True, None):
        for place in caches:
            if seen[place] is answer:
                return place
    raise EngineFailed(
        "weights_missing",
        f"the weights of '{model.name}' ({', '.join(name for name, _ in wanted)}) are not whole "
        f"in any hub cache of this machine (run: sudo spark-model pull {model.name})",
    )


def require_files(model: Model, layout: Layout) -> None:
    """See that the files which *model* mounts by their hash were fetched.

    Raises:
        EngineFailed: One is not there.
    """
    for file in model.container.files.values():
        if not file.startswith("/") and not (layout.fetched_files / file).exists():
            raise EngineFailed(
                "weights_missing",
                f"'{model.name}' reads a file that is not on this machine, {file} "
                f"(run: spark-model pull {model.name})",
            )


async def _choose_gpu(host: HostSettings, dockerd: Dockerd) -> Gpu:
    if host.gpu is not Gpu.AUTO:
        return host.gpu
    if not _gpu_nodes():
        return Gpu.NONE
    # Docker before 25 knows nothing of CDI, and says nothing of it.
    info = await dockerd.call("say what it can do", lambda api: api.info())
    return Gpu.CDI if info.get("CDISpecDirs") and _has_cdi() else Gpu.RUNTIME


def _has_cdi() -> bool:
    return any(found for place in CDI_DIRECTORIES for found in Path(place).glob("nvidia*"))


def _gpu_nodes() -> tuple[str, ...]:
    numbered = sorted(node.name for node in Path("/dev").glob("nvidia[0-9]*"))
    if not numbered:
        return ()
    return tuple(f"/dev/{node}" for node in (*numbered, *GPU_NODES) if _exists(f"/dev/{node}"))


def _exists(path: str) -> bool:
    return os.path.exists(path)


def _seen(path: str) -> bool | None:
    """Say whether *path* is a directory; None where we may not look."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except PermissionError:
        return None
    except OSError:
        return False

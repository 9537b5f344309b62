"""A model and what the machine has → the container that Docker is asked for.

Pure: golden files show every container that we make.  The result is the body of
Docker's `POST /containers/create`, not the SDK's own words, so that nothing is
filled in between here and Docker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spark_activator.catalog.host import Gpu
from spark_activator.catalog.model import Engine, Model, Network
from spark_activator.errors import EngineFailed
from spark_activator.runner import sglang

MODEL_LABEL = "io.spark-activator.model"
CONFIG_LABEL = "io.spark-activator.config"
ACTIVATION_LABEL = "io.spark-activator.activation"
# Whose it is: two installations (a tour beside the system's) share one Docker,
# and neither knows of the other's leases.
RUN_LABEL = "io.spark-activator.run"

# Where the upstream directory is inside, and the engine's socket in it.
UPSTREAM = "/run/upstream"
SOCKET = f"{UPSTREAM}/engine.sock"
CACHE = "/root/.cache"
HUB = f"{CACHE}/huggingface/hub"

# An engine gets this long to finish what is in flight after SIGTERM; the drain
# before it has usually left nothing.
SHUTDOWN_TIMEOUT = 60
# Docker's SIGKILL comes after the engine's own limit, and before systemd's
# (TimeoutStopSec=300s, of which the drain takes two minutes).
STOP_TIMEOUT = 75

# vLLM with eight workers has about 1,500 threads; a fork bomb has more.
PIDS_LIMIT = 4096
# The engine goes before anything of the host does when memory is short.
OOM_SCORE = 500

# The engine's socket has to be for its group, and no image has such a umask.
UMASK = 'umask 0007; exec "$0" "$@"'


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What Docker says of an image: its id and what it starts by itself."""

    id: str
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """What the container depends on besides the model.

    Attributes:
        run: The root of everything that our runners share.
        upstream: The activation's directory on the host.
        group: The group by which the engine can write there.
        cache: Directory on the host for the caches of this image.
        hub: The Hugging Face hub cache that has the weights, or None.
        files: Directory on the host with fetched files, by checksum.
        memory: Bytes of GPU memory in all.
        gpu: How devices reach the container; AUTO has been decided before.
        nodes: Device nodes of the GPU, for RUNTIME.
        journald: Whether journald takes the log.
        bridge: What puts an engine with TCP only on its socket; a file on the host.
    """

    run: str
    upstream: str
    group: int
    cache: str
    files: str
    memory: int
    hub: str | None = None
    gpu: Gpu = Gpu.NONE
    nodes: tuple[str, ...] = ()
    journald: bool = False
    bridge: str = sglang.BRIDGE


def container_name(model: str) -> str:
    """Return what the container of *model* is called."""
    return f"spark-{model}"


def labels(model: str, config: str, activation: str, run: str) -> dict[str, str]:
    """Return what tells our containers from others', and one activation from the next."""
    return {
        MODEL_LABEL: model,
        CONFIG_LABEL: config,
        ACTIVATION_LABEL: activation,
        RUN_LABEL: run,
    }


def container(
    model: Model, image: ImageFacts, machine: Machine, *, config: str, activation: str
) -> dict[str, Any]:
    """Return the body that makes the container of one activation of *model*.

    Raises:
        EngineFailed: The image has nothing to start.
    """
    assert model.image is not None
    options = model.container
    return {
        "Image": model.image.pull_spec,
        "Labels": labels(model.name, config, activation, machine.run),
        "Entrypoint": ["/bin/sh", "-c", UMASK],
        "Cmd": [word.replace("{socket}", SOCKET) for word in command(model, image, machine.memory)],
        "Env": [f"{key}={value}" for key, value in sorted(environment(model, machine).items())],
        "StopSignal": "SIGTERM",
        "StopTimeout": STOP_TIMEOUT,
        "HostConfig": {
            "NetworkMode": "none" if model.network is Network.NONE else "bridge",
            "RestartPolicy": {"Name": "no"},
            "Init": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": PIDS_LIMIT,
            "OomScoreAdj": OOM_SCORE,
            "GroupAdd": [str(machine.group)],
            "Mounts": _mounts(model, machine),
            # Compilers write programs there and run them.
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108  # its own
            "ShmSize": options.shm,
            "Ulimits": [
                {"Name": name, "Soft": limit, "Hard": limit}
                for name, limit in sorted(options.ulimits.items())
            ],
            "LogConfig": _log(model, machine),
            **_devices(model, machine),
        },
    }


def command(model: Model, image: ImageFacts, memory: int) -> tuple[str, ...]:
    """Return the whole command line, the image's own entrypoint included.

    Raises:
        EngineFailed: The image has nothing to start.
    """
    own = model.container.entrypoint
    start = own if own is not None else image.entrypoint
    if model.engine is Engine.VLLM:
        # Images differ: vLLM's own starts the server, others a shell or nothing.
        serves = own is not None or any("serve" in word for word in start)
        words = (*start, *(() if serves else ("vllm", "serve")), *vllm_args(model, memory))
    elif model.engine is Engine.SGLANG:
        words = sglang.command(model, start, SOCKET, memory)
    else:
        words = (*start, *(model.args or image.cmd))
    if not words:
        raise EngineFailed("start_failed", f"the image of '{model.name}' has no command to start")
    return words


def vllm_args(model: Model, memory: int) -> tuple[str, ...]:
    """Return vLLM's arguments: the owner's, then what lease and model file decide.

    Of a flag that is there twice the last counts, however the first one is
    spelled or abbreviated: so nothing in `args` can undo what the lease says.
    """
    assert model.image is not None
    words = ["--served-model-name", *model.names, "--uds", SOCKET]
    if model.source.revision is not None and not model.source.model.startswith("/"):
        words += ["--revision", model.source.revision]
    if model.context is not None:
        words += ["--max-model-len", str(model.context)]
    if not model.image.cpu:
        # Rounded down: the lease is what the engine is held to.
        share = int(min(model.memory / memory, 1.0) * 10_000) / 10_000
        words += ["--gpu-memory-utilization", f"{share:.4f}"]
    words += ["--shutdown-timeout", str(SHUTDOWN_TIMEOUT)]
    return (model.source.model, *model.args, *words)


def environment(model: Model, machine: Machine) -> dict[str, str]:
    """Return the engine's environment; what the model file says has the last word."""
    env = {"HF_HUB_OFFLINE": "1"}
    if model.engine is Engine.VLLM:
        # The runner decides how long a start may take, not a limit of the engine's own.
        env["VLLM_ENGINE_READY_TIMEOUT_S"] = str(int(model.timeouts.start))
        env["VLLM_NO_USAGE_STATS"] = "1"
        # A host that may be asked for pictures must not send the engine to another.
        env["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] = "0"
    if _gpu(model, machine) is Gpu.RUNTIME:
        env["NVIDIA_VISIBLE_DEVICES"] = "all"
        env["NVIDIA_DRIVER_CAPABILITIES"] = "compute,utility"
    return {**env, **model.env}


def _gpu(model: Model, machine: Machine) -> Gpu:
    return Gpu.NONE if model.image is not None and model.image.cpu else machine.gpu


def _devices(model: Model, machine: Machine) -> dict[str, Any]:
    nodes: Sequence[str] = model.container.devices
    extra: dict[str, Any] = {}
    match _gpu(model, machine):
        case Gpu.CDI:
            request = {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}
            extra = {"DeviceRequests": [request]}
        case Gpu.RUNTIME:
            # The runtime alone gives devices behind Docker's back, and a
            # daemon-reload takes those away again.
            extra = {"Runtime": "nvidia"}
            nodes = (*machine.nodes, *(node for node in nodes if node not in machine.nodes))
        case _:
            pass
    devices = [
        {"PathOnHost": node, "PathInContainer": node, "CgroupPermissions": "rwm"} for node in nodes
    ]
    return {"Devices": devices, **extra}


def _mounts(model: Model, machine: Machine) -> list[dict[str, Any]]:
    mounts = [_bind(machine.upstream, UPSTREAM), _bind(machine.cache, CACHE)]
    if model.engine is Engine.SGLANG:
        mounts.append(_bind(machine.bridge, sglang.BRIDGE_INSIDE, read_only=True))
    if machine.hub is not None:
        mounts.append(_bind(machine.hub, HUB, read_only=True))
    for inside, outside in sorted(model.container.mounts.items()):
        mounts.append(_bind(outside, inside, read_only=True))
    for inside, file in sorted(model.container.files.items()):
        source = file if file.startswith("/") else f"{machine.files}/{file}"
        mounts.append(_bind(source, inside, read_only=True))
    return mounts


def _bind(source: str, target: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def _log(model: Model, machine: Machine) -> dict[str, Any]:
    if machine.journald:
        return {"Type": "journald", "Config": {"tag": container_name(model.name)}}
    # Bounded, since an engine that nobody looks at logs for ever.
    return {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}}

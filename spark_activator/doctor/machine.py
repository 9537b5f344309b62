"""Checks of what models run on: Docker, GPU, driver, memory, disk."""

from __future__ import annotations

from collections.abc import Iterator

from spark_activator.catalog.host import Gpu
from spark_activator.doctor.facts import GIB, Facts, Finding, gib

# Versions of the driver that are known to be bad: the first number, and why.
BAD_DRIVERS = {"590": "it has a deadlock in CUDA graphs: engines hang under load"}
# What stays available for the host, as the memory gate of the runner has it.
FLOOR = 8 * GIB
FLOOR_SHARE = 8
# A host that swaps an engine out stands still; 10 is what users of Sparks settled on.
SWAPPINESS = 10
# Below the first nothing can be recorded safely; below the second the weights of
# a model of half a Spark's memory do not fit.
DISK_LEAST = 2 * GIB
DISK_LOW = 64 * GIB


def docker(facts: Facts) -> Iterator[Finding]:
    """Whether Docker answers, and by which cgroup driver it gives devices."""
    found = facts.docker
    if facts.docker_denied:
        yield Finding("docker", "note", "only root may ask Docker", "sudo spark-model doctor")
        return
    if found is None:
        yield Finding(
            "docker",
            "problem",
            f"Docker does not answer ({facts.docker_error}): models in containers cannot start",
            "sudo systemctl start docker.service",
        )
        return
    yield Finding(
        "docker", "ok", f"Docker {found.version} answers; cgroup driver {found.cgroup_driver}"
    )


def gpu_devices(facts: Facts) -> Iterator[Finding]:
    """How GPU devices reach containers, and whether a daemon-reload takes them away."""
    name = "gpu-devices"
    wanted = facts.host.gpu
    if wanted is Gpu.NONE:
        yield Finding(name, "ok", "host.yaml says gpu: none, so no container gets a GPU")
        return
    if not facts.gpu_nodes:
        yield Finding(
            name,
            "note",
            "no GPU is visible (/dev/nvidia0): models that need one cannot start",
            "nvidia-smi",
        )
        return
    found = facts.docker
    if found is None:
        return
    by_cdi = found.cdi and facts.cdi_spec
    if wanted is Gpu.CDI and not by_cdi:
        why = "there is no CDI specification" if found.cdi else "Docker is too old for CDI"
        yield Finding(
            name,
            "problem",
            f"host.yaml says gpu: cdi, but {why}: containers get no GPU",
            "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
            if found.cdi
            else "set 'gpu: runtime' in host.yaml, then: sudo spark-model apply",
        )
        return
    if by_cdi and wanted is not Gpu.RUNTIME:
        yield Finding(name, "ok", "GPU devices come by CDI: a daemon-reload leaves them")
        return
    yield from _by_runtime(name, facts, found.runtimes, found.cgroup_driver)


def _by_runtime(
    name: str, facts: Facts, runtimes: frozenset[str], cgroup_driver: str
) -> Iterator[Finding]:
    if "nvidia" not in runtimes:
        yield Finding(
            name,
            "problem",
            "Docker has neither CDI nor the nvidia runtime: containers get no GPU",
            "sudo nvidia-ctk runtime configure --runtime=docker "
            "&& sudo systemctl restart docker.service",
        )
    elif cgroup_driver == "systemd" and not facts.char_links:
        yield Finding(
            name,
            "note",
            "with the systemd cgroup driver and no links in /dev/char, a daemon-reload takes "
            "the GPU from containers that have it by the nvidia runtime alone (ours name the "
            "device nodes, those of others may not)",
            "sudo nvidia-ctk system create-dev-char-symlinks --create-all",
        )
    else:
        yield Finding(name, "ok", "GPU devices come by the nvidia runtime, as named nodes")


def driver(facts: Facts) -> Iterator[Finding]:
    """Whether the NVIDIA driver is one that is known to be bad."""
    if facts.driver is None:
        if facts.gpu_nodes:
            yield Finding("driver", "problem", "the driver does not say its version", "nvidia-smi")
        else:
            yield Finding("driver", "ok", "no NVIDIA driver is loaded")
        return
    why = BAD_DRIVERS.get(facts.driver.split(".")[0])
    if why is None:
        yield Finding("driver", "ok", f"driver {facts.driver} is not known to be bad")
        return
    yield Finding(
        "driver",
        "problem",
        f"driver {facts.driver}: {why}; 580 is the branch to stay on",
        "sudo apt-get install nvidia-driver-580-open && sudo reboot",
    )


def memory(facts: Facts) -> Iterator[Finding]:
    """Whether the host's floor is free, and how eagerly it swaps."""
    total, available = facts.memory.get("MemTotal"), facts.memory.get("MemAvailable")
    if total is None or available is None:
        yield Finding("memory", "problem", "/proc/meminfo does not say", "cat /proc/meminfo")
        return
    floor = min(FLOOR, total // FLOOR_SHARE) if facts.host.floor is None else facts.host.floor
    if available < floor and not facts.leased:
        yield Finding(
            "memory",
            "problem",
            f"{gib(available)} of {gib(total)} are available, and "
            f"{gib(floor)} have to stay so: no model can start",
            "ps -eo rss,pid,comm --sort=-rss | head",
        )
    elif available < floor:
        yield Finding(
            "memory",
            "note",
            f"{gib(available)} are available while models run, below the floor of {gib(floor)}",
            "spark-model lease show",
        )
    else:
        yield Finding(
            "memory",
            "ok",
            f"{gib(available)} of {gib(total)} are available, the floor is {gib(floor)}",
        )
    swap = facts.memory.get("SwapTotal", 0)
    if swap and facts.swappiness is not None and facts.swappiness > SWAPPINESS:
        yield Finding(
            "memory",
            "note",
            f"there are {gib(swap)} of swap, and vm.swappiness is {facts.swappiness}: "
            "a full machine swaps, and stands still",
            f"echo vm.swappiness={SWAPPINESS} | sudo tee /etc/sysctl.d/60-swappiness.conf "
            "&& sudo sysctl --system",
        )


def disk(facts: Facts) -> Iterator[Finding]:
    """Whether records, images and weights have room."""
    for room in facts.rooms:
        free = f"{gib(room.free)} of {gib(room.total)} are free at {room.path}"
        if room.free < DISK_LEAST:
            yield Finding(
                "disk", "problem", f"{free}: starts and downloads fail", "spark-model disk"
            )
        elif room.free < DISK_LOW:
            yield Finding(
                "disk", "note", f"{free}: weights of a large model do not fit", "spark-model disk"
            )
        else:
            yield Finding("disk", "ok", free)

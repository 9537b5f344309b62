"""What the checks know of the machine, and what they say: values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spark_activator.catalog.host import HostSettings

GIB = 1 << 30
Level = Literal["ok", "note", "problem"]


def gib(size: int) -> str:
    """Say *size*, in bytes, as a person reads it."""
    return f"{size / GIB:.1f} GiB"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says.

    Attributes:
        check: Its name, as docs/doctor.md has it.
        level: `note` may be as it should be; `problem` has to be mended.
        says: What was found, and what it means.
        mend: The command that mends it; empty where there is nothing to mend.
    """

    check: str
    level: Level
    says: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """A container of Docker's, whoever made it; *restart* is its restart policy."""

    name: str
    running: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    restart: str = "no"


@dataclass(frozen=True, slots=True)
class DockerFacts:
    """What Docker says of itself.

    Attributes:
        version: Of the daemon.
        cgroup_driver: `systemd` or `cgroupfs`.
        runtimes: Names of the runtimes that it knows.
        cdi: Whether it reads CDI specifications.
        root: Where its images lie.
        containers: All, also those that have ended.
    """

    version: str
    cgroup_driver: str
    runtimes: frozenset[str]
    cdi: bool
    root: str
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """Free and total bytes of the file system that *path* is on."""

    path: str
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens on a port; *unit* is its service, empty where it has none."""

    program: str
    pid: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants a port, and where it listens now.

    Attributes:
        owner: The model, or `nginx`.
        addresses: Where somebody listens on the port, as numbers.
        ours: Whether it is the unit of *owner* that does.
        enabled: Whether the unit is meant to.
        holder: Who listens there instead; None where that is not seen.
    """

    owner: str
    port: int
    addresses: tuple[str, ...]
    ours: bool
    enabled: bool
    holder: Holder | None = None


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """The file of API keys.

    Attributes:
        readable: False: only root may look, so nothing is known of it.
        problem: Why nobody can read what is there, `is a directory` say; empty where it is read.
    """

    path: str = ""
    readable: bool = True
    problem: str = ""
    entries: int = 0
    wrong: tuple[int, ...] = ()
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The machine at one moment.

    Attributes:
        run: Our run directory, by which our containers are labelled.
        docker: None where Docker does not answer, for the reason in *docker_error*.
        docker_denied: Whether that is since only others may ask it.
        gpu_nodes: Device nodes of GPUs.
        cdi_spec: Whether a CDI specification of NVIDIA's is there.
        char_links: Whether systemd can name the GPU's nodes in /dev/char.
        driver: Version of the NVIDIA driver, None where none is loaded.
        memory: `/proc/meminfo` in bytes.
        swappiness: vm.swappiness, None where unknown.
        nginx: Its version, None where there is none.
        njs: Whether its JavaScript module is there.
        nginx_runs: Whether our nginx does.
        leased: Models whose lease is held.
        stated: Models that a state file speaks of, and whose runner does not run.
        paused: Whether somebody has paused the GPU without an end.
        host_problem: What is wrong with host.yaml, empty where nothing is.
        host_file: Where it lies.
    """

    run: str
    host: HostSettings = field(default_factory=HostSettings)
    host_problem: str = ""
    host_file: str = ""
    docker: DockerFacts | None = None
    docker_error: str = ""
    docker_denied: bool = False
    gpu_nodes: tuple[str, ...] = ()
    cdi_spec: bool = False
    char_links: bool = False
    driver: str | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    swappiness: int | None = None
    rooms: tuple[Room, ...] = ()
    nginx: str | None = None
    njs: bool = False
    nginx_runs: bool = False
    listeners: tuple[Listener, ...] = ()
    leased: frozenset[str] = frozenset()
    stated: tuple[str, ...] = ()
    paused: bool = False
    keys: KeyFacts = KeyFacts()

"""Host settings: what is true of the machine, not of one model.

Apart from its parser, so that who reads the frozen form imports no YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Gpu(StrEnum):
    """How GPU devices reach a container."""

    AUTO = "auto"
    CDI = "cdi"
    RUNTIME = "runtime"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class HostSettings:
    """The settings of host.yaml, complete.

    Attributes:
        gpu: How GPU devices reach a container; none is for machines without.
        hub_caches: Directories of the Hugging Face hub cache, used where they lie.
        budget: Bytes that leases may take together; None is computed from the machine.
        docker_host: Docker's unix socket; None is Docker's own default.
    """

    gpu: Gpu = Gpu.AUTO
    hub_caches: tuple[str, ...] = ()
    budget: int | None = None
    docker_host: str | None = None

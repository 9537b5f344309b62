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


class Contention(StrEnum):
    """What happens to a request for which a busy model would have to go."""

    WAIT = "wait"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class HostSettings:
    """The settings of host.yaml, complete.

    Attributes:
        gpu: How GPU devices reach a container; none is for machines without.
        hub_caches: Directories of the Hugging Face hub cache, used where they lie.
        budget: Bytes that leases may take together; None is computed from the machine.
        docker_host: Docker's unix socket; None is Docker's own default.
        floor: Bytes that stay available for the host; None is computed from the machine.
        contention: What happens where a busy model would have to go.
        drop_caches: Whether the page cache is dropped for a start that would not fit otherwise.
        on_event: The command that is run on events, empty where there is none.
        listen: Addresses to listen on beside 127.0.0.1, once there is a key.
        origins: Web origins whose pages may ask, beside those of this machine.
        default_model: What `model: auto` means while no chat model is loaded.
        pace: Every time of the scheduling rules is multiplied by it; 1 but in tests.
    """

    gpu: Gpu = Gpu.AUTO
    hub_caches: tuple[str, ...] = ()
    budget: int | None = None
    docker_host: str | None = None
    floor: int | None = None
    contention: Contention = Contention.WAIT
    drop_caches: bool = False
    on_event: tuple[str, ...] = ()
    pace: float = 1.0
    listen: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    default_model: str | None = None

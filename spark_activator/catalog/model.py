"""A model: frozen, complete and valid; nobody checks it again.

Sizes are bytes, times are seconds.  What a value means is said in docs/model-file.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class StatusKind(StrEnum):
    """How far a model file can be trusted."""

    VALIDATED = "validated"
    EXPERIMENTAL = "experimental"
    DISABLED = "disabled"


class Engine(StrEnum):
    """What runs the model."""

    VLLM = "vllm"
    SGLANG = "sglang"
    CONTAINER = "container"
    PROCESS = "process"


class Network(StrEnum):
    """What the engine may reach."""

    NONE = "none"
    OUTBOUND = "outbound"


class Lifecycle(StrEnum):
    """How the model shares the GPU."""

    NORMAL = "normal"
    UTILITY = "utility"
    EXCLUSIVE = "exclusive"


class Keep(StrEnum):
    """Whether it goes when idle."""

    IDLE = "idle"
    ALWAYS = "always"


class Tools(StrEnum):
    """How well it calls tools."""

    FULL = "full"
    FORCED = "forced"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Status:
    """*reason* says why it is disabled, or how it was validated."""

    kind: StatusKind = StatusKind.EXPERIMENTAL
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights and the facts come from.

    Attributes:
        model: The repository on the hub, or a directory.
        revision: Branch, tag or commit; None is the hub's default.
        origin: The file's `from`: where recipe and numbers were read.
        pinned: Whether *revision* is the commit that the source names in full.
        drafts: Further repositories that the engine reads, such as a draft model.
    """

    model: str
    revision: str | None = None
    origin: str = ""
    pinned: bool = True
    drafts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """An image by name; *digest* is None where it is not pinned, *cpu*: it has no use for a GPU."""

    name: str
    reference: str
    digest: str | None = None
    cpu: bool = False

    @property
    def pull_spec(self) -> str:
        """What Docker is asked for."""
        return f"{self.reference}@{self.digest}" if self.digest else self.reference


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """What the container gets beyond what every container gets; shm in bytes."""

    mounts: dict[str, str] = field(default_factory=dict)  # path inside -> path on the host
    files: dict[str, str] = field(default_factory=dict)  # path inside -> sha256 or path
    devices: tuple[str, ...] = ()
    shm: int = 1 << 30
    ulimits: dict[str, int] = field(default_factory=dict)
    entrypoint: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What clients may expect of it; *tools* None: nobody has said, so they pass as they are."""

    tools: Tools | None = None
    vision: bool = False
    reasoning: bool = False

    def known(self) -> dict[str, str | bool]:
        """Say it as lists of models do, without what nobody has said: false is the default."""
        known: dict[str, str | bool] = {} if self.tools is None else {"tools": str(self.tools)}
        known |= {"vision": True} if self.vision else {}
        known |= {"reasoning": True} if self.reasoning else {}
        return known


@dataclass(frozen=True, slots=True)
class Requests:
    """What is done to requests before they reach the engine (the front door's policy).

    Attributes:
        flatten_text: Whether a message's text parts become one string.
        strict_roles: Whether messages are made to alternate, system text in the first.
        tool_hints: Whether the model is told to give arrays and objects to tools as raw JSON.
        clamp_tokens: Whether the answer's limit is lowered to what fits the context.
        clamp_margin: Tokens kept free by that; None is a tenth of the context.
        thinking_default: What a client that is silent about thinking gets.
        stream_tools: `pass`, or `buffer`: streams with tools are asked for whole.
        set: Fields that every request gets, whatever it says.
        strip: Fields that are taken out.
        allow: Fields that are refused otherwise.
        media_hosts: Hosts from which the engine may fetch media, with `network: outbound`.
        most_choices: The largest `n`.
        most_held: How many requests may wait for the engine.
        most_served: How many it serves at once, or None.
        loading_text: Whether streams of chats tell of the load as reasoning content.
    """

    flatten_text: bool = False
    strict_roles: bool = False
    tool_hints: bool = False
    clamp_tokens: bool = True
    clamp_margin: int | None = None
    thinking_default: bool | None = None
    stream_tools: str = "pass"
    set: dict[str, Any] = field(default_factory=dict)
    strip: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] = ()
    # Nobody reads more answers to one question; vLLM itself allows 16,384.
    most_choices: int = 16
    # Four times a thousand clients on a cold model, at some 20 KiB each.
    most_held: int = 4096
    most_served: int | None = None
    loading_text: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines, in seconds."""

    idle: float = 20 * 60.0
    stall: float = 10 * 60.0
    start: float = 2 * 3600.0
    drain: float = 2 * 60.0


@dataclass(frozen=True, slots=True)
class Client:
    """What client configurations are told; None takes the model's own limits."""

    context: int | None = None
    output: int | None = None


@dataclass(frozen=True, slots=True)
class Sizing:
    """How the model's memory was worked out: bytes, and *origin* of the numbers.

    Attributes:
        weights: What the weights take once they are loaded.
        kv: The key-value cache for *sequences* of the model's context.
        overhead: Activations, CUDA graphs and the CUDA context.
        sequences: How many whole contexts *kv* holds.
        token: Bytes of key-value cache that one token takes, where it is known.
        origin: The file's `from`.
    """

    weights: int
    kv: int
    overhead: int
    sequences: float = 1.0
    token: int | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """Tokens a second that a source measured, one request at a time unless it says otherwise."""

    decode: float | None = None
    prefill: float | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """One model, with its port.

    Attributes:
        name: The stem of its file and the instance name of its units.
        command: The command line of a process engine, empty for all others.
            `{socket}` in it, as in *args*, is the path that the engine has to serve on.
        memory: Bytes of GPU memory that the whole engine may take: the size of its lease.
        tcp: The port of a process engine that cannot serve on a unix socket, else None.
        probe: Whether readiness includes one generated token.
        sizing: How *memory* was worked out; None where nobody has said.
        measured: How fast a source saw it; None where none did.
        issues: Known problems, a line each.
        vendor: Whether the file is of the catalog that is shipped.
    """

    name: str
    port: int
    engine: Engine
    source: Source
    memory: int
    summary: str = ""
    status: Status = Status()
    aliases: tuple[str, ...] = ()
    image: Image | None = None
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    tcp: int | None = None
    env: dict[str, str] = field(default_factory=dict)
    container: ContainerOptions = ContainerOptions()
    network: Network = Network.NONE
    lifecycle: Lifecycle = Lifecycle.NORMAL
    keep: Keep = Keep.IDLE
    priority: int = 0
    context: int | None = None
    capabilities: Capabilities = Capabilities()
    requests: Requests = Requests()
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    client: Client = Client()
    probe: bool = True
    sizing: Sizing | None = None
    measured: Measured | None = None
    issues: tuple[str, ...] = ()
    vendor: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that clients may use on one loaded engine, the main one first."""
        return (self.name, *self.aliases, *self.presets)

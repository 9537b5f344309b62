"""Every setting of the demo engine, and every fault that it can be told: complete values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spark_activator.demo.options import PHASES, parser


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on purpose; each field is the command line's option of that name."""

    never_ready: bool
    exit_at_start: int | None
    exit_phase: str
    exit_message: str
    stall_phase: str | None
    ignore_sigterm: bool
    fork_child: str | None
    die_after_tokens: int | None
    dead_health: str | None
    dead_after_requests: int
    health_delay: float
    hold_memory: int
    memory_rate: int
    keep_memory: float
    allow_faults: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """A complete and valid command line."""

    socket: str | None
    host: str
    port: int | None
    names: tuple[str, ...]
    serves: str
    phase_times: dict[str, float]
    shards: int
    text: str
    tokens_per_second: float
    max_tokens: int
    reasoning: int
    max_model_len: int | None
    first_token_delay: float
    warmup_time: float
    max_concurrent: int
    shutdown_timeout: float
    keep_alive_timeout: float
    access_log: bool
    faults: Faults


def parse(argv: Sequence[str]) -> Settings:
    """Read *argv*, without the program's name.

    Raises:
        SystemExit: It is wrong; what is expected was printed.
    """
    options = parser()
    args = options.parse_args(argv)
    if args.socket is None and args.port is None:
        options.error("expected --socket or --port")
    shares = {phase: getattr(args, f"{phase}_share") for phase in PHASES}
    if sum(shares.values()) <= 0:
        options.error("expected at least one share above 0")
    times = {
        phase: (args.load_time * share / sum(shares.values()))
        if getattr(args, f"{phase}_time") is None
        else getattr(args, f"{phase}_time")
        for phase, share in shares.items()
    }
    known = vars(args)
    faults = Faults(**{field: known[field] for field in Faults.__slots__})
    rest = {
        field: known[field]
        for field in Settings.__slots__
        if field not in ("names", "phase_times", "faults")
    }
    return Settings(names=tuple(args.served_model_name), phase_times=times, faults=faults, **rest)

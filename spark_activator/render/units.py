"""What differs between the units of two models: a few drop-ins, as text.

The templates in `units/` are the same for every model.  What one model adds is
the address that its socket listens on and, where it has one, an engine that is
a process and a drain of its own.  Paths are relative to the directory that
systemd reads units from.
"""

from __future__ import annotations

from collections.abc import Mapping

from spark_activator.catalog.model import Engine, Model, Network, Timeouts

# What a stop takes beyond the drain: for the activator a margin, for the runner
# the engine's own end (75 s), the return of its memory and Docker's deadlines.
# The templates have these numbers too, with the default drain.
ACTIVATOR_MARGIN = 30
RUNNER_MARGIN = 180

_HEADER = "# Written by `spark-model apply` from the model file of {name}: change that instead.\n\n"


def socket_unit(name: str) -> str:
    """The unit that switches *name* on."""
    return f"spark-model@{name}.socket"


def service_units(name: str) -> tuple[str, ...]:
    """The services of *name*, in the order in which they have to stop."""
    return (
        f"spark-model@{name}.service",
        f"spark-runner@{name}.service",
        f"spark-engine@{name}.service",
        f"spark-tcp@{name}.service",
    )


def drop_in_paths(name: str) -> tuple[str, ...]:
    """Every drop-in that `drop_ins` may render for *name*: what is not rendered is removed."""
    return (
        f"spark-model@{name}.socket.d/10-port.conf",
        f"spark-model@{name}.socket.d/10-engine.conf",
        f"spark-model@{name}.service.d/10-drain.conf",
        f"spark-runner@{name}.service.d/10-drain.conf",
        # Not 10-: it has to come after 10-system.conf, and names alone decide.
        f"spark-engine@{name}.service.d/20-network.conf",
        f"spark-tcp@{name}.service.d/10-port.conf",
    )


def drop_ins(model: Model, *, listen: str = "127.0.0.1") -> Mapping[str, str]:
    """Render what *model* adds to the templates.

    Args:
        model: The model.
        listen: The address of this host that models listen on.

    Returns:
        Text by path, below the directory of the units.
    """
    port, engine, activator_drain, runner_drain, network, tcp = drop_in_paths(model.name)
    bodies = {port: f"[Socket]\nListenStream={_address(listen, model.port)}\n"}
    if model.engine is Engine.PROCESS:
        units = "spark-engine@%i.socket"
        if model.tcp is not None:
            units += " spark-tcp@%i.socket"
            bodies[tcp] = f"[Service]\nEnvironment=SPARK_TCP_PORT={model.tcp}\n"
        bodies[engine] = f"[Unit]\nWants={units}\nAfter={units}\n"
        if model.network is Network.OUTBOUND:
            # Under a user manager there is no such fence, and this says nothing new.
            bodies[network] = "[Service]\nPrivateNetwork=no\n"
    if model.timeouts.drain != Timeouts().drain:
        drain = model.timeouts.drain
        bodies[activator_drain] = _stop_timeout(drain + ACTIVATOR_MARGIN)
        bodies[runner_drain] = _stop_timeout(drain + RUNNER_MARGIN)
    header = _HEADER.format(name=model.name)
    return {path: header + body for path, body in bodies.items()}


def _address(listen: str, port: int) -> str:
    return f"[{listen}]:{port}" if ":" in listen else f"{listen}:{port}"


def _stop_timeout(seconds: float) -> str:
    return f"[Service]\nTimeoutStopSec={seconds:g}s\n"

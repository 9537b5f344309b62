"""What differs between the units of two models: a few drop-ins, as text.

The templates in `units/` are the same for every model.  What one model adds is
the address that its socket listens on and, where it has one, an engine that is
a process and a drain of its own.  Paths are relative to the directory that
systemd reads units from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spark_activator.catalog.model import Engine, Model, Network, Timeouts

# What a stop takes beyond the drain: for the activator a margin, for the runner
# the engine's own end (75 s), the return of its memory and Docker's deadlines.
# The templates have these numbers too, with the default drain.
ACTIVATOR_MARGIN = 30
RUNNER_MARGIN = 180

LOOPBACK = "127.0.0.1"
# nginx's, of all models.
ENDPOINT_PORT = 8009
# See sd_listen_fds(3).
FIRST_FD = 3
MODELS_PATH = "spark-models.path"
MODELS_SERVICE = "spark-models.service"
NGINX_SERVICE = "spark-nginx.service"
NGINX_SOCKET = "spark-nginx.socket"
# What apply writes for nginx's units, both or neither.
NGINX_PATHS = (NGINX_SOCKET, f"{NGINX_SERVICE}.d/10-listen.conf")

_NGINX_HEADER = "# Written by `spark-model apply` from host.yaml (listen): change that instead.\n\n"
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


def drop_ins(model: Model, *, listen: Sequence[str] = (LOOPBACK,)) -> Mapping[str, str]:
    """Render what *model* adds to the templates.

    Args:
        model: The model.
        listen: The addresses of this host that models listen on.

    Returns:
        Text by path, below the directory of the units.
    """
    port, engine, activator_drain, runner_drain, network, tcp = drop_in_paths(model.name)
    bodies = {port: _socket(listen, model.port)}
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


def nginx_units(listen: Sequence[str]) -> Mapping[str, str]:
    """Render what nginx's units need for *listen*; nothing where that is one address.

    nginx listens on the first by itself.  The others are systemd's, which can
    have them before they are there; nginx takes over what its variable names.
    """
    more = listen[1:]
    if not more:
        return {}
    socket, service = NGINX_PATHS
    passed = "".join(f"{FIRST_FD + number};" for number in range(len(_kept(more))))
    return {
        socket: f"{_NGINX_HEADER}[Unit]\nDescription=Addresses of nginx for Language Models\n\n"
        + _socket(more, ENDPOINT_PORT)
        + f"KeepAlive=yes\nService={NGINX_SERVICE}\n",
        service: f"{_NGINX_HEADER}[Unit]\nWants={NGINX_SOCKET}\nAfter={NGINX_SOCKET}\n\n"
        # Else a second worker that sees the same client sits in its accept until another comes.
        f'[Service]\nSockets={NGINX_SOCKET}\nNonBlocking=yes\nEnvironment="NGINX={passed}"\n',
    }


def nginx_listen(listen: Sequence[str]) -> str | None:
    """Render nginx's own lines for all of *listen* but the first; None where there are none."""
    lines = [
        f"listen {at} backlog=4096 so_keepalive=on;\n" for at in _at(listen[1:], ENDPOINT_PORT)
    ]
    return _NGINX_HEADER + "".join(lines) if lines else None


def _socket(listen: Sequence[str], port: int) -> str:
    lines = [f"ListenStream={at}" for at in _at(listen, port)]
    if len(listen) > 1 or listen[0] != LOOPBACK:
        # Docker's bridge and a tailnet come after us, or go and come again.
        lines.append("FreeBind=yes")
    if any(":" in address for address in listen):
        # Else `::` would be all addresses of IPv4 as well, beside those named.
        lines.append("BindIPv6Only=ipv6-only")
    return "\n".join(["[Socket]", *lines, ""])


def _at(listen: Sequence[str], port: int) -> list[str]:
    return [_address(address, port) for address in _kept(listen)]


def _kept(listen: Sequence[str]) -> list[str]:
    """Leave out what is listened on anyway: one that means all takes the place of its kind."""
    every = {address for address in listen if address in ("0.0.0.0", "::")}
    return [
        address
        for address in dict.fromkeys(listen)
        if address in every or ("::" if ":" in address else "0.0.0.0") not in every
    ]


def _address(listen: str, port: int) -> str:
    return f"[{listen}]:{port}" if ":" in listen else f"{listen}:{port}"


def _stop_timeout(seconds: float) -> str:
    return f"[Service]\nTimeoutStopSec={seconds:g}s\n"

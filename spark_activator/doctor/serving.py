"""Checks of what serves: nginx, ports, who else is there, what was left, who may come in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from spark_activator.doctor.facts import Container, Facts, Finding, Level, Listener
from spark_activator.render.units import NGINX_SERVICE, socket_unit

# The oldest that is tested: Debian 12's.
NGINX_LEAST = (1, 22)

# The stack that this project grew out of: how Compose and it call its containers.
SEED_PROJECT = "dgx-spark-inference-stack"
SEED_PREFIX = "vllm-"
COMPOSE_LABELS = ("com.docker.compose.project", "com.docker.compose.project.working_dir")
# dockerd starts such a container at boot, behind everybody's back.
RETURNING = frozenset({"always", "unless-stopped"})

# It has the ports that containers publish.
DOCKER_PROXY = "docker-proxy"
NGINX = "nginx"
SOCKETS = "systemctl list-sockets"

MODEL_LABEL = "io.spark-activator.model"
RUN_LABEL = "io.spark-activator.run"


def nginx(facts: Facts) -> Iterator[Finding]:
    """Whether the one endpoint can be served."""
    if facts.nginx is None or not facts.njs:
        what = "nginx" if facts.nginx is None else "its JavaScript module (njs)"
        yield Finding(
            "nginx",
            "problem",
            f"{what} is missing: models answer on their own ports only",
            "sudo apt-get install nginx-light libnginx-mod-http-js",
        )
    elif _version(facts.nginx) < NGINX_LEAST:
        yield Finding(
            "nginx",
            "problem",
            f"nginx {facts.nginx} is older than 1.22, with which nothing was tested",
            "sudo apt-get install --only-upgrade nginx",
        )
    elif not facts.nginx_runs:
        yield Finding(
            "nginx",
            "problem",
            "spark-nginx.service does not run: nothing answers on port 8009",
            "sudo systemctl start spark-nginx.service",
        )
    else:
        yield Finding("nginx", "ok", f"nginx {facts.nginx} with njs serves port 8009")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def ports(facts: Facts) -> Iterator[Finding]:
    """Whether somebody else listens where a model or nginx should."""
    taken = [one for one in facts.listeners if one.addresses and not one.ours]
    for one in taken:
        level: Level = "problem" if one.enabled else "note"
        # Of a model that is off nobody has to give way.
        yield Finding("ports", level, port_taken(one), free_port(one) if one.enabled else look(one))
    # nginx that does not run is said by its own check.
    silent = [one for one in facts.listeners if one.enabled and not one.addresses]
    silent = [one for one in silent if one.owner != NGINX]
    for one in silent:
        yield Finding(
            "ports",
            "problem",
            f"nobody listens on port {one.port} of '{one.owner}', which is switched on: "
            "its socket has failed or was stopped",
            f"sudo systemctl restart {socket_unit(one.owner)}",
        )
    if not taken and not silent:
        count = len(facts.listeners)
        words = "1 port is" if count == 1 else f"{count} ports are"
        yield Finding("ports", "ok", f"{words} ours or free")


def port_taken(one: Listener) -> str:
    """Say who has the port of *one*, and what that means."""
    who = "another program"
    if one.holder is not None:
        unit = f" of {one.holder.unit}" if one.holder.unit else ""
        who = f"{one.holder.program} (process {one.holder.pid}{unit})"
    return f"port {one.port} of '{one.owner}' is taken by {who}, which gets what is sent there"


def look(one: Listener) -> str:
    """Return the command that shows who has the port of *one*."""
    return f"sudo ss -ltnp 'sport = :{one.port}'"


def free_port(one: Listener) -> str:
    """Return the command that ends who has the port of *one*, and has *one* listen."""
    other = one.holder
    if other is None or other.pid == 1:
        # systemd itself listens, for a socket unit: which one is said by its list.
        return look(one) if other is None else SOCKETS
    end = f"sudo kill {other.pid}"
    if other.program == DOCKER_PROXY:
        end = f"sudo docker stop $(sudo docker ps -q --filter publish={one.port})"
    elif other.unit:
        end = f"sudo systemctl stop {other.unit}"
    if not one.enabled:
        return end
    unit = NGINX_SERVICE if one.owner == NGINX else socket_unit(one.owner)
    return f"{end} && sudo systemctl restart {unit}"


def is_seed(container: Container) -> bool:
    """Say whether *container* looks like one of the stack before this one."""
    labels = " ".join(container.labels.get(label, "") for label in COMPOSE_LABELS)
    return SEED_PROJECT in labels or container.name.startswith(SEED_PREFIX)


def seed(facts: Facts) -> Iterator[Finding]:
    """Whether containers of the stack before this one run, or come back."""
    if facts.docker is None:
        return
    found = [one for one in facts.docker.containers if is_seed(one)]
    active = sorted(one.name for one in found if one.running or one.restart in RETURNING)
    left = sorted(one.name for one in found if one.name not in active)
    if active:
        names = " ".join(active)
        yield Finding(
            "seed",
            "problem",
            f"containers of an earlier stack run, or return at boot: {', '.join(active)}; "
            "they take memory and ports that nobody here knows of",
            f"sudo docker update --restart=no {names} && sudo docker stop {names}",
        )
    if left:
        yield Finding(
            "seed",
            "note",
            f"stopped containers of an earlier stack are left: {', '.join(left)}",
            f"sudo docker rm {' '.join(left)}",
        )
    if not found:
        yield Finding("seed", "ok", "no container of an earlier stack is there")


def stale(facts: Facts) -> Iterator[Finding]:
    """Whether containers, records or a pause of ours were left by what has ended."""
    clean = True
    for one in facts.docker.containers if facts.docker else ():
        model = one.labels.get(MODEL_LABEL)
        if model is None or one.labels.get(RUN_LABEL) != facts.run or model in facts.leased:
            continue
        clean = False
        yield Finding(
            "stale",
            "problem",
            f"the container '{one.name}' is there, and nobody holds the lease of '{model}': "
            "it takes memory that is not counted",
            f"sudo systemctl start spark-reaper@{model}.service",
        )
    for model in facts.stated:
        clean = False
        yield Finding(
            "stale",
            "problem",
            f"the runner of '{model}' is gone, and its state is still there: what 'status' "
            "says of it is old",
            f"sudo rm {facts.run}/state/{model}.json",
        )
    if facts.paused:
        clean = False
        yield Finding(
            "stale", "note", "the GPU is paused without an end: no model starts",
            "spark-model resume",
        )  # fmt: skip
    if clean:
        yield Finding("stale", "ok", "nothing of ours is left by what has ended")


def access(facts: Facts) -> Iterator[Finding]:
    """Whether only those can ask who should."""
    name = "access"
    if facts.host_problem:
        mend = f"sudoedit {facts.host_file} && sudo spark-model apply"
        yield Finding(name, "problem", facts.host_problem, mend)
    keys = facts.keys
    if not keys.readable:
        yield Finding(name, "note", "only root may look at the API keys", "sudo spark-model doctor")
        return
    if keys.problem:
        # As whoever serves takes it: a file that is damaged lets nobody in.
        yield Finding(
            name,
            "problem",
            f"{keys.path}: {keys.problem}, so it cannot be read, and nobody is served",
            f"sudo mv {keys.path} {keys.path}.aside",
        )
        return
    if keys.mode is not None and keys.mode & 0o027:
        yield Finding(
            name,
            "problem",
            f"the file of API keys has mode {keys.mode:04o}: others can read or change it",
            f"sudo chmod 0640 {keys.path}",
        )
    if keys.wrong:
        lines = ", ".join(str(number) for number in keys.wrong)
        yield Finding(
            name,
            "problem",
            f"lines of the API keys that are no key, and open nothing: {lines}",
            f"sudoedit {keys.path}",
        )
    yield from _exposure(facts)


def _exposure(facts: Facts) -> Iterator[Finding]:
    open_to = sorted(
        {f"{one.owner} on {address}:{one.port}" for one in facts.listeners if one.ours
         for address in one.addresses if not ipaddress.ip_address(address).is_loopback}
    )  # fmt: skip
    if facts.keys.entries:
        where = f"; from other machines: {', '.join(open_to)}" if open_to else ""
        yield Finding("access", "ok", f"{facts.keys.entries} API keys open what is served{where}")
    elif open_to:
        yield Finding(
            "access",
            "problem",
            f"there is no API key, and other machines reach {', '.join(open_to)}: everybody "
            "is refused there",
            "sudo spark-model key add NAME",
        )
    elif facts.host.listen:
        yield Finding(
            "access",
            "note",
            f"host.yaml listens on {', '.join(facts.host.listen)}, which waits for an API key",
            "sudo spark-model key add NAME && sudo spark-model apply",
        )
    else:
        yield Finding("access", "ok", "only this machine is served, without a key")

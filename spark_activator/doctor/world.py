"""Reading the machine for the checks: files, `nginx -v`, and one look at Docker."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Protocol

from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.load import load_host
from spark_activator.doctor import containers, holders
from spark_activator.doctor.facts import Facts, Holder, KeyFacts, Listener, Room
from spark_activator.errors import FileProblems
from spark_activator.http import keys
from spark_activator.layout import Layout
from spark_activator.render.units import ENDPOINT_PORT, NGINX_SERVICE

DEV = Path("/dev")
NGINX = "/usr/sbin/nginx"
NJS = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
CDI_DIRECTORIES = (Path("/etc/cdi"), Path("/var/run/cdi"))
# The number of NVIDIA's devices, in Linux' list of majors.
NVIDIA_MAJOR = 195
# The state of a socket that listens, in /proc/net/tcp.
LISTENS = "0A"
TABLES = ("net/tcp", "net/tcp6")
# It prints a line; more means that it hangs.
ASK_TIMEOUT = 10.0


class UnitsLike(Protocol):
    """What checks ask systemd."""

    def enabled(self, name: str) -> bool:
        """Whether the socket of *name* listens after the next boot."""

    def listening(self, name: str) -> bool:
        """Whether it listens now."""

    def active(self, unit: str) -> bool:
        """Whether *unit* runs or listens."""


def read(layout: Layout, units: UnitsLike) -> Facts:
    """Read all that the checks judge by."""
    host, problem = _host(layout)
    docker, error = containers.look(host.docker_host)
    nodes = tuple(sorted(str(path) for path in DEV.glob("nvidia[0-9]*")))
    places = [str(layout.state), *([docker.root] if docker else []), *host.hub_caches]
    return Facts(
        run=str(layout.run),
        host=host,
        host_problem=problem,
        host_file=str(layout.host_file),
        docker=docker,
        docker_error=error,
        docker_denied=docker is None and not containers.may_ask(host.docker_host),
        gpu_nodes=nodes,
        cdi_spec=any(True for place in CDI_DIRECTORIES for _ in place.glob("nvidia*")),
        char_links=(DEV / f"char/{NVIDIA_MAJOR}:0").exists(),
        driver=driver_version(_text(layout.proc / "driver/nvidia/version")),
        memory=meminfo(_text(layout.proc / "meminfo")),
        swappiness=_number(_text(layout.proc / "sys/vm/swappiness")),
        rooms=tuple(_rooms(places)),
        nginx=_nginx_version(),
        njs=NJS.exists(),
        nginx_runs=units.active(NGINX_SERVICE),
        listeners=tuple(_listeners(layout, units)),
        leased=leased(layout),
        stated=tuple(_stated(layout, units)),
        paused=_paused(layout),
        keys=read_keys(layout.api_keys),
    )


def driver_version(text: str) -> str | None:
    """Return the version in /proc/driver/nvidia/version, None where it has none."""
    found = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text, re.MULTILINE)
    return found[1] if found else None


def meminfo(text: str) -> dict[str, int]:
    """Return the sizes in /proc/meminfo, in bytes."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in lines}


def listened(text: str) -> Iterator[tuple[int, str]]:
    """Yield port and address of each listening socket in /proc/net/tcp or tcp6."""
    for fields in _listening(text):
        yield _port(fields), _address(fields[1].partition(":")[0])


def _listening(text: str) -> Iterator[list[str]]:
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == LISTENS:
            yield fields


def _port(fields: list[str]) -> int:
    return int(fields[1].partition(":")[2], 16)


def ports_in_use(layout: Layout) -> dict[int, set[str]]:
    """Return the ports on which somebody listens, each with its addresses."""
    taken: dict[int, set[str]] = {}
    for table in TABLES:
        for port, address in listened(_text(layout.proc / table)):
            taken.setdefault(port, set()).add(address)
    return taken


def holder(layout: Layout, port: int) -> Holder | None:
    """Return who listens on *port*; None where that is not seen, as by most who are not root."""
    lines = (
        fields
        for table in TABLES
        for fields in _listening(_text(layout.proc / table))
        if _port(fields) == port
    )
    return holders.holder(layout.proc, lines)


def _address(digits: str) -> str:
    # Words of four bytes, each in the order of this machine, which is little-endian.
    words = bytes.fromhex(digits)
    whole = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    if len(whole) == 4:  # IPv4 has one word
        return str(IPv4Address(whole))
    address = IPv6Address(whole)
    return str(address.ipv4_mapped or address)


def leased(layout: Layout) -> frozenset[str]:
    """Name the models whose lease is held, by the kernel's list: a lock is not touched."""
    held = set(re.findall(r" FLOCK .*? [0-9a-f]+:[0-9a-f]+:(\d+) ", _text(layout.proc / "locks")))
    found = set()
    for path in layout.gpu.glob("lease-*.lock"):
        with contextlib.suppress(OSError):
            if str(path.stat().st_ino) in held:
                found.add(path.name.removeprefix("lease-").removesuffix(".lock"))
    return frozenset(found)


def read_keys(path: Path) -> KeyFacts:
    """Read the file of API keys."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()
    except FileNotFoundError:
        return KeyFacts(str(path))
    except PermissionError:
        return KeyFacts(str(path), readable=False)
    except OSError as error:
        reason = error.strerror or str(error)
        return KeyFacts(str(path), problem=reason[:1].lower() + reason[1:])
    # Bytes that are no text make their lines wrong, as they are for who serves.
    found = keys.read(data.decode(errors="replace"))
    return KeyFacts(str(path), entries=len(found.entries), wrong=tuple(found.wrong), mode=mode)


def _host(layout: Layout) -> tuple[HostSettings, str]:
    try:
        return load_host(layout), ""
    except FileProblems as error:
        return HostSettings(), error.message.splitlines()[0]


def _rooms(places: list[str]) -> Iterator[Room]:
    seen = set()
    for place in places:
        path = Path(place)
        # Not everybody may look into every directory, root's home for one.
        with contextlib.suppress(OSError):
            while not path.exists():
                path = path.parent
            device = path.stat().st_dev
            if device not in seen:
                seen.add(device)
                usage = shutil.disk_usage(path)
                yield Room(place, usage.free, usage.total)


def _nginx_version() -> str | None:
    try:
        done = subprocess.run(
            [NGINX, "-v"], capture_output=True, text=True, check=False, timeout=ASK_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"nginx/(\d+\.\d+\.\d+)", done.stderr)
    return found[1] if found else None


def _listeners(layout: Layout, units: UnitsLike) -> Iterator[Listener]:
    taken = ports_in_use(layout)
    there = tuple(sorted(taken.get(ENDPOINT_PORT, ())))
    ours = units.active(NGINX_SERVICE)
    other = holder(layout, ENDPOINT_PORT) if there and not ours else None
    yield Listener("nginx", ENDPOINT_PORT, there, ours, enabled=True, holder=other)
    for name in _names(layout.frozen("x").parent):
        with contextlib.suppress(OSError, FileProblems):
            model = frozen.load(layout.frozen(name).read_text(errors="replace"), file=name)
            there = tuple(sorted(taken.get(model.port, ())))
            # systemctl is asked only where somebody listens: it takes 10 ms a model.
            ours = bool(there) and units.listening(name)
            other = holder(layout, model.port) if there and not ours else None
            yield Listener(name, model.port, there, ours, units.enabled(name), other)


def _stated(layout: Layout, units: UnitsLike) -> Iterator[str]:
    for name in _names(layout.state_file("x").parent):
        if not units.active(f"spark-runner@{name}.service"):
            yield name


def _names(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob("[!.]*.json"))


def _paused(layout: Layout) -> bool:
    text = _text(layout.gpu / "pause.json")
    if not text:
        return False
    try:
        return json.loads(text).get("until") is None
    except (ValueError, AttributeError):
        return True  # as the runners take it


def _text(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None

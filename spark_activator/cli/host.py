"""`spark-model host add|list|remove`: names by which this machine may be asked."""

from __future__ import annotations

import ipaddress
import socket

from spark_activator.cli import files
from spark_activator.errors import UserError
from spark_activator.http import hosts
from spark_activator.layout import Layout

HEADER = "# Names by which this machine may be asked; see: spark-model host list\n"


def add(layout: Layout, name: str) -> int:
    """Allow *name*.

    Raises:
        UserError: It is no host name, or the file may not be written.
    """
    wanted = _plain(name)
    _require_rights(layout, f"add {name}")
    if wanted in _always():
        print(f"'{wanted}' is allowed anyway")
        return 0
    with files.locked(layout.hosts_file):
        text = files.read(layout.hosts_file) or HEADER
        if wanted in hosts.read_names(text)[0]:
            print(f"'{wanted}' is allowed already")
            return 0
        end = "" if text.endswith("\n") else "\n"
        files.write(layout.hosts_file, f"{text}{end}{wanted}\n")
    print(f"'{wanted}' is allowed from now on")
    return 0


def remove(layout: Layout, name: str) -> int:
    """Allow *name* no more.

    Raises:
        UserError: It is not in the file, or that may not be written.
    """
    wanted = _plain(name)
    _require_rights(layout, f"remove {name}")
    with files.locked(layout.hosts_file):
        lines = (files.read(layout.hosts_file) or "").splitlines(keepends=True)
        kept = [line for line in lines if wanted not in hosts.read_names(line)[0]]
        if len(kept) == len(lines):
            always = "it is allowed anyway" if wanted in _always() else "it is not allowed"
            raise UserError(
                f"'{wanted}' is not in {layout.hosts_file}, {always}",
                hint="see: spark-model host list",
            )
        files.write(layout.hosts_file, "".join(kept))
    print(f"'{wanted}' is allowed no more")
    return 0


def show_all(layout: Layout) -> int:
    """Print every name that is allowed, and why."""
    text = files.read(layout.hosts_file) or ""
    names, wrong = hosts.read_names(text)
    print("always: addresses, " + ", ".join(_always()))
    for name in sorted(names):
        print(name)
    for number in wrong:
        print(f"{layout.hosts_file}: line {number} is no host name")
    return 0


def _always() -> list[str]:
    machine = sorted(hosts.machine_names(socket.gethostname()))
    return [hosts.LOCALHOST, hosts.CONTAINERS_NAME, *machine]


def _plain(name: str) -> str:
    plain = name.lower().removesuffix(".")
    try:
        ipaddress.ip_address(plain.strip("[]"))
    except ValueError:
        if hosts.NAME.fullmatch(plain):
            return plain
        raise UserError(
            f"expected a host name such as 'llm.example.org', got {name!r}",
            hint="without 'http://', port and path",
        ) from None
    raise UserError(f"'{name}' is an address, which is always allowed")


def _require_rights(layout: Layout, command: str) -> None:
    if not files.may_write(layout.config):
        raise UserError(
            f"'host' writes {layout.hosts_file}, which needs root",
            hint=f"run: sudo spark-model host {command}",
        )

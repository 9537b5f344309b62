"""Ports for the owner's models that say none: given once, then remembered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from spark_activator.catalog.settings import OWNER_PORTS


@dataclass(frozen=True, slots=True)
class Assignment:
    """What `assign` decided.

    Attributes:
        ports: A port for each name that could have one.
        remembered: What to write down: also the ports of models that are not
            there at the moment, so that they get the same one again.
        without: Names for which none was left.
    """

    ports: dict[str, int]
    remembered: dict[str, int]
    without: tuple[str, ...] = ()


def assign(
    names: Iterable[str], *, taken: Collection[int], remembered: Mapping[str, int]
) -> Assignment:
    """Give each of *names* the port that it had, or the lowest that nobody has.

    Args:
        names: Models that say no port.
        taken: Ports that other models say.
        remembered: What the last assignment said.
    """
    wanted = sorted(set(names))
    kept: dict[str, int] = {}
    for name, old in sorted(remembered.items()):
        if old in OWNER_PORTS and old not in taken and old not in kept.values():
            kept[name] = old
    ports: dict[str, int] = {}
    without: list[str] = []
    for name in wanted:
        used = {*taken, *ports.values()}
        port = kept.get(name)
        if port is None or port in used:
            # A port that an absent model had is given away only when all others are.
            free = [port for port in OWNER_PORTS if port not in used]
            foreign = {kept[other] for other in kept if other != name}
            port = next((p for p in free if p not in foreign), free[0] if free else None)
        if port is None:
            without.append(name)
        else:
            ports[name] = port
    lost = set(ports.values())
    absent = {name: port for name, port in kept.items() if name not in wanted and port not in lost}
    return Assignment(ports, dict(sorted({**absent, **ports}.items())), tuple(without))

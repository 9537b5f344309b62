"""By which names we may be asked, and by which web pages.

A browser on this machine, or in its network, reaches us as its user does.  So a
page of anybody could ask a model: under a name of its own that it points at us
(DNS rebinding; `Host` tells), or as what it is, from another site (`Origin`
tells).  Programs send no `Origin`.

Also the answers to browsers: which pages may read what they asked for (CORS).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spark_activator.errors import Refusal
from spark_activator.http.head import Head

# What a container calls the machine that it runs on.
CONTAINERS_NAME: Final = "host.docker.internal"
LOCALHOST: Final = "localhost"

# A name as DNS and mDNS have them, with the underscore of container networks.
NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
    r"(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)

# Pages that this machine serves to itself, on any port, and the panels of the
# editor.  Not `null` and not `file://`: anybody's page in a sandboxed frame, and
# any file that was downloaded and opened, say so.
_OWN_ORIGIN = re.compile(
    r"https?://(?:(?:[a-z0-9-]+\.)*localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?"
    r"|vscode-webview://[a-z0-9._-]+"
)
# What a preflight asks for is said back to it: it has to be field names.
_FIELD_NAMES = re.compile(r"[a-z0-9-]+(?: *, *[a-z0-9-]+)*", re.IGNORECASE)

# What browsers would hide from a page: when to come back, and what was done.
EXPOSED: Final = ", ".join(
    (
        "Retry-After",
        "X-Spark-Request-Id",
        "X-Spark-Changed",
        "X-Spark-Phase",
        "X-Spark-Queue-Position",
        "X-Busy-Model",
        "X-Model-Uptime-Sec",
        "X-Model-Idle-Sec",
        "X-Time-Until-Release-Sec",
        "X-Model-Will-Auto-Stop",
    )
)
METHODS: Final = "GET, HEAD, POST, OPTIONS"
# For browsers that ask before each request otherwise; ten minutes is what a key
# or an origin that was taken away lives on in a browser, which may then ask, and
# is refused.
MAX_AGE: Final = "600"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Whom we are, and who may ask.

    Attributes:
        names: Host names in lower case, beside those that are always ours.
        origins: Origins in lower case, beside this machine's own.
    """

    names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def check_host(self, head: Head, peer: str) -> None:
        """Insist that we are asked by a name of ours.

        Args:
            head: The request's.
            peer: The address that it comes from.  From this machine HTTP/1.0 may
                name nobody, which no browser does.

        Raises:
            Refusal: It is not ours.
        """
        for value in values(head, b"host"):
            name = _without_port(value).lower()
            if not self._is_ours(name):
                raise Refusal(
                    "invalid_host",
                    f"'{name[:200]}' is no name of this machine "
                    f"(if it should be one: sudo spark-model host add {name[:200]})",
                )
            return
        if not is_local(peer):
            raise Refusal("invalid_host", "expected a Host field, as HTTP/1.1 has it")

    def check_origin(self, head: Head) -> None:
        """Insist that a request of a browser is of a page that may ask.

        Raises:
            Refusal: It may not.
        """
        found = values(head, b"origin")
        if found and self._allowed(found) is None:
            raise Refusal(
                "origin_not_allowed",
                f"pages of '{found[0][:200]}' may not ask (see origins in host.yaml)",
            )

    def cors(self, head: Head) -> Mapping[str, str]:
        """Say what every answer to *head* tells a browser; nothing where no page may read it."""
        found = values(head, b"origin")
        origin = self._allowed(found)
        if origin is None:
            # Whoever keeps answers must not give one without permission to another page.
            return {"Vary": "Origin"} if found else {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": EXPOSED,
            "Vary": "Origin",
        }

    def preflight(self, head: Head) -> Mapping[str, str] | None:
        """Say what to answer a browser that asks whether it may ask; None where it does not.

        It sends no key with that, and is told nothing but what it said itself.
        """
        if head.method != "OPTIONS" or not values(head, b"access-control-request-method"):
            return None
        if self._allowed(values(head, b"origin")) is None:
            return None
        if not all(self._is_ours(_without_port(value).lower()) for value in values(head, b"host")):
            return None
        answer = {**self.cors(head), "Access-Control-Allow-Methods": METHODS}
        wanted = ", ".join(values(head, b"access-control-request-headers"))
        if _FIELD_NAMES.fullmatch(wanted):
            answer["Access-Control-Allow-Headers"] = wanted
        if values(head, b"access-control-request-private-network") == ["true"]:
            # A page on the internet that asks a machine at home; it is on the list.
            answer["Access-Control-Allow-Private-Network"] = "true"
        answer["Access-Control-Max-Age"] = MAX_AGE
        return answer

    def _allowed(self, found: list[str]) -> str | None:
        if len(found) != 1:
            return None
        origin = found[0].lower()
        return found[0] if origin in self.origins or _OWN_ORIGIN.fullmatch(origin) else None

    def _is_ours(self, name: str) -> bool:
        name = name.removesuffix(".")
        if name in (LOCALHOST, CONTAINERS_NAME) or name in self.names:
            return True
        return name.endswith(f".{LOCALHOST}") or _is_address(name)


def values(head: Head, name: bytes) -> list[str]:
    """Return the values of a field of *head*, in order; *name* in lower case."""
    return [value.decode("latin-1") for field, value in head.fields if field == name]


def is_of_browser(head: Head) -> bool:
    """Whether a web page asks."""
    return any(field == b"origin" for field, _ in head.fields)


def machine_names(hostname: str) -> frozenset[str]:
    """Return what a machine of that *hostname* is called in its network."""
    full = hostname.lower().removesuffix(".")
    short = full.partition(".")[0]
    return frozenset({full, short, f"{short}.local"} - {"", ".local"})


def read_names(text: str) -> tuple[frozenset[str], tuple[int, ...]]:
    """Read the hosts file: the names, and the numbers of the lines that are none."""
    names: set[str] = set()
    wrong: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        name = line.partition("#")[0].strip().lower().removesuffix(".")
        if not name:
            continue
        if NAME.fullmatch(name):
            names.add(name)
        else:
            wrong.append(number)
    return frozenset(names), tuple(wrong)


def is_local(peer: str) -> bool:
    """Whether *peer* is an address of this machine that no other one can have."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True

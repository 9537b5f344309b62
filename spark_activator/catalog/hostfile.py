"""The text of host.yaml → `HostSettings`, or everything that is wrong with it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from spark_activator.catalog import document
from spark_activator.catalog.host import Contention, Gpu, HostSettings
from spark_activator.catalog.kinds import Choice, ListOf, Switch, Text
from spark_activator.catalog.names import CLIENT_NAME, LONGEST_CLIENT_NAME
from spark_activator.catalog.quantities import SIZE, parse_size
from spark_activator.catalog.section import INVALID, Report, Setting, Table, quote
from spark_activator.catalog.words import Words
from spark_activator.errors import FileProblems

__all__ = ["Gpu", "HostSettings", "parse"]

_PATH = Text("an absolute path", r"^/[^\n\r]*(?!\n)$", 4096)

_ADDRESS = Text(
    "an IP address such as '172.17.0.1' or 'fd7a::1'",
    r"^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)(?!\n)$",
    45,
)
_ORIGIN = Text(
    "an origin such as 'https://chat.example.org'",
    r"^[a-z][a-z0-9+.-]*://[A-Za-z0-9._-]+(?::[0-9]{1,5})?(?!\n)$",
    253,
)


def _budget(text: str) -> int | None:
    return None if text == "auto" else parse_size(text)


HOST = Table(
    {
        "gpu": Setting(Choice(Gpu), "How GPU devices reach a container."),
        "hub_caches": Setting(
            ListOf(_PATH), "Directories of the Hugging Face hub cache, used where they lie."
        ),
        "budget": Setting(
            Text("auto, or a size such as '100GiB'", rf"^auto(?!\n)$|{SIZE}", 64, _budget),
            "GPU memory that all leases may take together.",
        ),
        "docker_host": Setting(_PATH, "Docker's unix socket, where it is not the usual one."),
        "floor": Setting(
            Text("auto, or a size such as '8GiB'", rf"^auto(?!\n)$|{SIZE}", 64, _budget),
            "Memory that stays available for the host: a start that goes below it is ended.",
        ),
        "contention": Setting(
            Choice(Contention), "Whether a request waits where a busy model would have to go."
        ),
        "drop_caches": Setting(
            Switch(), "Drop the page cache before a start that would not fit otherwise."
        ),
        "on_event": Setting(
            Words(least=1),
            "A command that is run on failures and evictions, with a JSON line on its input.",
        ),
        "listen": Setting(
            ListOf(_ADDRESS), "Addresses to listen on beside 127.0.0.1, once there is an API key."
        ),
        "origins": Setting(
            ListOf(_ORIGIN), "Web origins whose pages may ask, beside those of this machine."
        ),
        "default_model": Setting(
            Text("a model's name", CLIENT_NAME, LONGEST_CLIENT_NAME),
            "What `model: auto` means while no chat model is loaded.",
        ),
        "pace": Setting(
            Text("a factor above 0", r"^\d{1,3}(?:\.\d{1,6})?(?!\n)$", 12, float),
            "For tests: every time of the scheduling rules is multiplied by it.",
        ),
    },
    HostSettings,
)


def parse(text: str, file: str) -> HostSettings:
    """Read host.yaml; a file that has only comments is all defaults.

    Raises:
        FileProblems: All that is wrong with it.
    """
    lines = (line.strip() for line in text.splitlines())
    if all(not line or line.startswith("#") for line in lines):
        return HostSettings()
    report = Report(file)
    settings = HOST.read(document.parse(text, file), "", report)
    if isinstance(settings, HostSettings):
        _check_addresses(settings.listen, report)
    if settings is INVALID or report.problems:
        raise FileProblems(sorted(report.problems))
    assert isinstance(settings, HostSettings)
    return settings


def _check_addresses(addresses: Sequence[str], report: Report) -> None:
    # Beyond what a pattern can say: systemd and nginx would stumble over it.
    for number, address in enumerate(addresses):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            report.add(f"listen[{number}]", f"expected an IP address, got {quote(address)}")

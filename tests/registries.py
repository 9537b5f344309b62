"""What a container needs of this machine to reach the package registries.

pip's settings become `PIP_*` variables, proxies are handed on, directories and
files that those settings point to are mounted where they are, and the certificates that
this machine trusts are copied in.  Nothing here knows any registry.
"""

from __future__ import annotations

import os
import re
import shlex
import ssl
import subprocess
import sys
from pathlib import Path

# Where the copied certificates lie inside.  Not the distribution's own file: that
# one is rewritten whenever a package touches ca-certificates.
CERTIFICATES = "/etc/ssl/outer-certificates.crt"
_CERTIFICATE_VARIABLES = (
    "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
)  # fmt: skip
_PROXIES = re.compile(r"(https?|no|all|ftp)_proxy", re.IGNORECASE)


def environment() -> dict[str, str]:
    """Variables for commands inside that install packages."""
    found = {
        name: value for name, value in os.environ.items() if _PROXIES.fullmatch(name) and value
    }
    found |= _pip_settings()
    if certificates() is not None:
        found |= dict.fromkeys(_CERTIFICATE_VARIABLES, CERTIFICATES)
    return found


def mounts() -> list[str]:
    """Directories and files that pip's settings point to, to be mounted at the same path."""
    found = set()
    for name, value in _pip_settings().items():
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            # The first component below /, because indexes link to their neighbours.
            if path.is_absolute() and path.is_dir() and len(path.parts) > 2:
                found.add(str(Path(*path.parts[:3])))
            # Certificates are copied instead; see `CERTIFICATES`.
            elif path.is_absolute() and path.is_file() and name not in _CERTIFICATE_VARIABLES:
                found.add(str(path))
    return sorted(found)


def certificates() -> Path | None:
    """The file of certificates that this machine trusts."""
    candidates = (
        os.environ.get("PIP_CERT"),
        os.environ.get("SSL_CERT_FILE"),
        "/etc/ssl/certs/ca-certificates.crt",
        ssl.get_default_verify_paths().cafile,
    )
    return next((Path(name) for name in candidates if name and Path(name).is_file()), None)


def _pip_settings() -> dict[str, str]:
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found = {}
    # The environment comes first in the listing and wins, as it does in pip.
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        scope, _, key = name.rpartition(".")
        if scope.strip(":") in {"global", "install", "env"}:
            variable = "PIP_" + key.upper().replace("-", "_")
            text = " ".join(shlex.split(value))
            found.setdefault(variable, text)
    found.pop("PIP_CONFIG_FILE", None)
    return found

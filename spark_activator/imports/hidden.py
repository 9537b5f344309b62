"""What a model file must not repeat of a text: secrets, and places that are no engine's business.

Whoever may read model files sees all of them, and `spark-model show` prints them.
"""

from __future__ import annotations

import posixpath
import re

_NAMES = r"(?:TOKEN|(?:API)?KEYS?|KEY_ID|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?)"
_NAME = re.compile(rf"(?:^|_){_NAMES}$", re.IGNORECASE)
# Keys as their makers write them (Hugging Face, OpenAI and its kin, NVIDIA, GitHub, GitLab,
# AWS, a JSON web token), and a password in a URL.
_VALUES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{8,}|nvapi-[A-Za-z0-9_-]{8,}"
    r"|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|AKIA[0-9A-Z]{12,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}[A-Za-z0-9_.-]*)"
    r"|(?<=://)[^\s/@'\"]+(?=@)"
)
# A secret by what stands before it: `--token x`, `NAME_KEY=x`, `?key=x`, `Bearer x`.
_BEHIND = re.compile(
    rf"(--(?:[A-Za-z0-9]+[_-]){{0,6}}{_NAMES}(?:=|\s+)"
    rf"|\b(?:[A-Za-z0-9]+[_-]){{0,6}}{_NAMES}=|\bBearer\s+)([^\s&'\"]+)",
    re.IGNORECASE,
)
_DOTS = "…"

# Places of the host by which one is its master, or learns its secrets.
_MASTERS = r"(?:boot|dev|etc|proc|root|run|sys|var/(?:run|lib/(?:docker|containerd)))"
_HOST = re.compile(
    rf"/(?:(?:{_MASTERS}(?:/.*)?|home(?:/[^/]+)?|var|var/lib)?"
    r"|.*\.sock|(?:.*/)?\.(?:ssh|aws|gnupg|docker|kube|config|netrc)(?:/.*)?)",
    re.DOTALL,  # a line's end is a letter of a name
)
# Devices that engines use beside the GPU's.
_DEVICE = re.compile(r"/dev/(?:infiniband|dri)(?:/[A-Za-z0-9_]+)*")


def is_secret(name: str, value: str) -> bool:
    """Say whether the setting *name* has a secret as its *value*."""
    return bool(_NAME.search(name.replace("-", "_")) or _VALUES.search(value))


def without_secrets(text: str) -> str:
    """Return *text* with dots for what looks like a secret."""
    return _BEHIND.sub(rf"\1{_DOTS}", _VALUES.sub(_DOTS, text))


def one_line(text: str) -> str:
    """Return *text* on one line, without secrets and what a terminal would act on."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return without_secrets(" ".join(shown.split()))


def is_private(path: str) -> bool:
    """Say whether *path* of the host is none that an engine may see, also to read."""
    return _HOST.fullmatch(posixpath.normpath(f"/{path.lstrip('/')}")) is not None


def is_harmless_device(path: str) -> bool:
    """Say whether *path* is a device that an engine may have."""
    return _DEVICE.fullmatch(path) is not None

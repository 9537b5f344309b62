"""API keys: the file that has their hashes, and whether a request has one.

The file has a JSON object a line.  What is a key opens; a line that is anything
else opens nothing, and still says that there are keys: a file that was damaged
must not let everybody in.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from spark_activator.errors import Refusal
from spark_activator.http import websocket
from spark_activator.http.caller import Caller
from spark_activator.http.head import KEY_FIELDS, Head
from spark_activator.http.hosts import is_local, values

# Of a key, as its owner calls it: part of lines, tables and file names' neighbours.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEARER = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# OpenAI's clients say `Authorization: Bearer`, Anthropic's and Azure's the key alone.
_AUTHORIZATION, *_BARE = KEY_FIELDS


@dataclass(frozen=True, slots=True)
class Key:
    """One key, without its secret.

    Attributes:
        name: What its owner calls it.
        digest: SHA-256 of the secret.
        models: Names of the models that it opens; None: all.
        admin: Whether it may change what is loaded.
        added: The day, as YYYY-MM-DD.
    """

    name: str
    digest: bytes
    models: frozenset[str] | None = None
    admin: bool = False
    added: str = ""

    def line(self) -> str:
        """Write it as `read` reads it, without the end of the line."""
        models = None if self.models is None else sorted(self.models)
        entry = {"name": self.name, "sha256": self.digest.hex(), "models": models}
        return json.dumps({**entry, "admin": self.admin, "added": self.added})


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one file.

    Attributes:
        entries: Those that open.
        wrong: Numbers of lines that are none; 0 stands for the file as a whole.
    """

    entries: tuple[Key, ...] = ()
    wrong: tuple[int, ...] = ()

    @property
    def exist(self) -> bool:
        """Whether requests need one."""
        return bool(self.entries or self.wrong)

    def find(self, secret: str) -> Key | None:
        """Return the key of *secret*.

        All are compared, in a time that says nothing of how much was right.
        """
        digest = digest_of(secret)
        found = None
        for key in self.entries:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


# A file that is there and cannot be read.
UNREADABLE: Final = Keys(wrong=(0,))


def digest_of(secret: str) -> bytes:
    """Return what the file has of *secret*."""
    return hashlib.sha256(secret.encode("latin-1", "replace")).digest()


def read(text: str) -> Keys:
    """Read the key file."""
    entries: list[Key] = []
    wrong: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key = read_line(line)
        if key is None:
            wrong.append(number)
        else:
            entries.append(key)
    return Keys(tuple(entries), tuple(wrong))


def read_line(line: str) -> Key | None:
    """Read a line of the key file; None where it is no key.

    A line that says more than we understand is none: it may be a restriction.
    """
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or not body.keys() <= _NAMES:
        return None
    name, digest, added = (body.get(key, "") for key in ("name", "sha256", "added"))
    models, admin = body.get("models"), body.get("admin", False)
    if not _is_text(name, NAME) or not _is_text(digest, _SHA256) or not isinstance(admin, bool):
        return None
    if added != "" and not _is_text(added, _DATE):
        return None
    if models is not None:
        if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
            return None
        models = frozenset(models)
    return Key(name, bytes.fromhex(digest), models, admin=admin, added=added)


_NAMES = frozenset({"name", "sha256", "models", "admin", "added"})


def _is_text(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and bool(pattern.fullmatch(value))


def admit(keys: Keys, head: Head, *, peer: str, names: Collection[str]) -> Caller:
    """Say who asks.

    Args:
        keys: All that there are.
        head: The request's.
        peer: The address at the other end of the connection.
        names: All names of the model.

    Raises:
        Refusal: It has no key where there are some, or comes from another
            machine where there are none, or has one for other models.
    """
    if not keys.exist:
        if not _is_from_here(head, peer):
            raise Refusal(
                "key_required",
                "without an API key only this machine itself is served "
                "(its owner makes one: sudo spark-model key add NAME)",
            )
        return Caller()
    # Of several that were sent the first that is a key counts.
    found = [key for secret in _presented(head) if (key := keys.find(secret)) is not None]
    if not found:
        raise Refusal(
            "invalid_api_key",
            "expected a valid API key, as 'Authorization: Bearer KEY' or 'x-api-key: KEY'",
            headers={"WWW-Authenticate": "Bearer"},
        )
    key = found[0]
    if key.models is not None and key.models.isdisjoint(names):
        raise Refusal("model_not_permitted", f"the API key '{key.name}' is for other models")
    return Caller(key.name, key.admin)


def _presented(head: Head) -> list[str]:
    """Return the secrets that *head* has; a field that comes twice has none."""
    found: list[str] = []
    sent = values(head, _AUTHORIZATION)
    if len(sent) == 1 and (match := _BEARER.fullmatch(sent[0])):
        found.append(match[1])
    for name in _BARE:
        sent = values(head, name)
        if len(sent) == 1 and sent[0]:
            found.append(sent[0])
    # Pages that open a WebSocket cannot send any of these.
    offered = websocket.credential(head)
    return found if offered is None else [*found, offered]


def _is_from_here(head: Head, peer: str) -> bool:
    """Whether nobody of another machine is behind *peer*, a proxy of this one perhaps."""
    if not is_local(peer):
        return False
    hops = ",".join(values(head, b"x-forwarded-for")).split(",")
    return all(is_local(hop.strip()) or hop.strip() in ("", "unix:") for hop in hops)

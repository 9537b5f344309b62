"""`spark-model key add|list|remove`: who may come in, once anybody has to show a key."""

from __future__ import annotations

import difflib
import getpass
import json
import re
import secrets
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from spark_activator.cli import files, models, tables
from spark_activator.cli.reach import reach
from spark_activator.errors import UserError
from spark_activator.http import keys
from spark_activator.http.keys import Key, Keys
from spark_activator.layout import Layout
from spark_activator.runner import usage
from spark_activator.runner.usage import Used

# Activators and nginx read the file by this group, and nobody else does.
GROUP = "spark-keys"
MODE = 0o640

PREFIX = "sk-spark-"
RANDOM_BYTES = 32
# What somebody has made up: long enough that its hash does not give it away, and
# what a field of a request's head can carry.
_KEPT = re.compile(r"[!-~]{16,512}")

HEADER = "# API keys: their hashes, a JSON object a line; see: spark-model key list\n"


def add(
    layout: Layout,
    *,
    name: str,
    opens: Sequence[str] | None,
    admin: bool,
    from_stdin: bool,
) -> int:
    """Make a key, and print it: it is in no file.

    Raises:
        UserError: There is one of that name, what was given is no key, or the
            file may not be written.
    """
    if not keys.NAME.fullmatch(name):
        raise UserError(
            f"expected a name of at most 64 letters, digits, '.', '_' and '-', got {name!r}"
        )
    _require_rights(layout, f"add {name}")
    secret = _given() if from_stdin else PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    allowed = None if opens is None else frozenset(opens)
    today = datetime.now(tz=UTC).astimezone().date().isoformat()
    key = Key(name, keys.digest_of(secret), allowed, admin=admin, added=today)
    with files.locked(layout.api_keys):
        text = _text(layout) or HEADER
        found = keys.read(text)
        _require_new(found, key)
        _append(layout, text, key)
    if not from_stdin:
        # Alone on standard output, so that it can be piped to where it is needed.
        print(secret, flush=True)
    _say_added(layout, key, first=not found.exist, printed=not from_stdin)
    return 0


def is_one(secret: str) -> bool:
    """Say whether *secret*, which somebody has made up, may be a key."""
    return _KEPT.fullmatch(secret) is not None


def keep(layout: Layout, name: str, secret: str) -> tuple[str, bool]:
    """Keep a key that exists elsewhere.

    Returns:
        What it is called here, and whether it is new.

    Raises:
        UserError: There is another of that name.
    """
    with files.locked(layout.api_keys):
        text = _text(layout) or HEADER
        found = keys.read(text)
        if there := found.find(secret):
            return there.name, False
        today = datetime.now(tz=UTC).astimezone().date().isoformat()
        key = Key(name, keys.digest_of(secret), None, admin=False, added=today)
        _require_new(found, key)
        _append(layout, text, key)
    _say_added(layout, key, first=not found.exist, printed=False)
    return name, True


def remove(layout: Layout, *, name: str) -> int:
    """Take the key *name* away.

    Raises:
        UserError: There is none, or the file may not be written.
    """
    _require_rights(layout, f"remove {name}")
    with files.locked(layout.api_keys):
        lines = _text(layout).splitlines(keepends=True)
        kept = [line for line in lines if (k := keys.read_line(line)) is None or k.name != name]
        if len(kept) == len(lines):
            raise _no_key(keys.read("".join(lines)), name)
        files.write(layout.api_keys, "".join(kept), mode=MODE, group=GROUP)
    print(f"the key '{name}' is removed, and opens nothing from now on")
    print("requests that it began are answered to their end")
    _say_left(layout, keys.read("".join(kept)))
    return 0


def show_all(layout: Layout, *, as_json: bool) -> int:
    """Print all keys, and what each has used; no secrets are known.

    Raises:
        UserError: The file may not be read.
    """
    found = keys.read(_text(layout))
    used = usage.read_all(layout.usage("x").parent)
    if as_json:
        print(json.dumps([_entry(key, used.get(key.name, Used())) for key in found.entries]))
    elif found.entries:
        rows = [_row(key, used.get(key.name, Used())) for key in found.entries]
        head = ("NAME", "MODELS", "ADMIN", "ADDED", "REQUESTS", "INPUT", "OUTPUT", "LAST USE")
        print(tables.table(head, rows))
    elif not found.exist:
        print("no keys: only this machine is served (make one: sudo spark-model key add NAME)")
    _say_wrong(layout, found)
    return 0


def _append(layout: Layout, text: str, key: Key) -> None:
    end = "" if text.endswith("\n") else "\n"
    files.write(layout.api_keys, f"{text}{end}{key.line()}\n", mode=MODE, group=GROUP)


def _text(layout: Layout) -> str:
    try:
        return files.read(layout.api_keys) or ""
    except PermissionError as error:
        raise UserError(
            f"{layout.api_keys}: permission denied", hint="run: sudo spark-model key list"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{layout.api_keys} is not text, and nobody is served", hint="mend or empty it"
        ) from error


def _given() -> str:
    text = getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.read(4096)
    lines = text.splitlines() or [""]
    if len(lines) > 1 or not _KEPT.fullmatch(lines[0].strip()):
        raise UserError(
            "expected a key on standard input, one line of 16 to 512 letters, digits and signs, "
            f"got {len(lines)} line(s), the first of {len(lines[0].strip())} characters",
            hint="without --stdin a good one is made for you",
        )
    return lines[0].strip()


def _require_new(found: Keys, key: Key) -> None:
    for other in found.entries:
        if other.name == key.name:
            raise UserError(
                f"there is a key '{key.name}'", hint=f"spark-model key remove {key.name}"
            )
        if other.digest == key.digest:
            raise UserError(f"this is the key '{other.name}', which is there already")


def _no_key(found: Keys, name: str) -> UserError:
    near = difflib.get_close_matches(name, [key.name for key in found.entries], n=3)
    hint = f"there is {', '.join(near)}" if near else "see: spark-model key list"
    return UserError(f"there is no key '{name}'", hint=hint)


def _require_rights(layout: Layout, command: str) -> None:
    if not files.may_write(layout.config):
        raise UserError(
            f"'key' writes {layout.api_keys}, which needs root",
            hint=f"run: sudo spark-model key {command}",
        )


# What a person has to know is said beside the key, which standard output has to itself.


def _say_added(layout: Layout, key: Key, *, first: bool, printed: bool) -> None:
    _tell(f"the key '{key.name}' is added" + (", and shown this once" if printed else ""))
    known = {name for found in models.names(layout) for name in _names_of(layout, found)}
    for name in sorted((key.models or frozenset()) - known):
        _tell(f"no model is called '{name}' (now)")
    if first:
        _tell("from now on every request needs a key, also those of this machine")
        if not key.admin:
            _tell("none may warm, stop or see /debug: that takes a key made with --admin")
    more = reach(layout).addresses[1:]
    if first and more:
        _tell(f"to listen on {', '.join(more)} now, run: sudo spark-model apply")


def _names_of(layout: Layout, name: str) -> tuple[str, ...]:
    try:
        return models.load(layout, name).names
    except UserError:
        return (name,)


def _say_left(layout: Layout, left: Keys) -> None:
    if left.entries:
        print(f"{len(left.entries)} other key(s) are valid")
    elif not left.wrong:
        print("no key is left: this machine alone is served, and needs none")
        note = reach(layout).note
        if note:
            print("sockets that listen elsewhere refuse everybody (key_required)")
            print("to have them listen no more, run: sudo spark-model apply")
    _say_wrong(layout, left)


def _say_wrong(layout: Layout, found: Keys) -> None:
    for number in found.wrong:
        _tell(f"{layout.api_keys}: line {number} is no key: it opens nothing")
    if found.wrong and not found.entries:
        _tell("nobody is served until it is mended, removed, or a key is added")


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _row(key: Key, used: Used) -> tuple[str, ...]:
    last = "never"
    if used.last:
        last = f"{tables.span(max(0.0, time.time() - used.last))} ago"
    return (
        key.name,
        "all" if key.models is None else ",".join(sorted(key.models)),
        "yes" if key.admin else "no",
        key.added or "-",
        str(used.requests),
        str(used.input),
        str(used.output),
        last,
    )


def _entry(key: Key, used: Used) -> dict[str, object]:
    last = datetime.fromtimestamp(used.last, tz=UTC).isoformat() if used.last else None
    return {
        "name": key.name,
        "models": None if key.models is None else sorted(key.models),
        "admin": key.admin,
        "added": key.added or None,
        "requests": used.requests,
        "input_tokens": used.input,
        "output_tokens": used.output,
        "last_use": last,
    }

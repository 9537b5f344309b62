"""The hub's token: from a file, standard input or a prompt, never a word of a command line."""

from __future__ import annotations

import argparse
import getpass
import os
import stat
import sys

from spark_activator.errors import UserError

# A token is a line; what is longer is another file.
LIMIT = 4096


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let *parser* take the file that the token is in."""
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="the hub's token, for repositories that are private or gated ('-': standard input)",
    )


def read(path: str | None) -> str | None:
    """Read the token from the file at *path*, `-` being standard input.

    Raises:
        UserError: There is none.
    """
    if path is None:
        return None
    try:
        if path == "-":
            text = sys.stdin.readline(LIMIT)
        else:
            with open(path) as stream:
                _see_who_may_read(path, os.fstat(stream.fileno()).st_mode)
                text = stream.read(LIMIT)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"cannot read the token from {path}: {reason}") from error
    return _checked(text, f", in {path}")


def may_ask() -> bool:
    """Say whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask() -> str | None:
    """Ask for the token, without showing it; None where the person gives up.

    Raises:
        UserError: What was typed is none.
    """
    try:
        typed = getpass.getpass("token of the hub (not shown; empty: give up): ")
    except EOFError:
        print(file=sys.stderr)  # the terminal still stands behind the question
        return None
    return _checked(typed) if typed.strip() else None


def _checked(text: str, where: str = "") -> str:
    token = text.strip()
    # A header could not carry another.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"expected a token, a line of letters and digits{where}")
    return token


def _see_who_may_read(path: str, mode: int) -> None:
    # A pipe has no readers but us, whatever its mode.
    if stat.S_ISREG(mode) and mode & 0o077:
        print(
            f"spark-model: other users may read the token in {path}, going on "
            f"(hint: chmod 600 {path})",
            file=sys.stderr,
        )

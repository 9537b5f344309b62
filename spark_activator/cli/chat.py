"""`spark-model chat`: a conversation in the terminal.

The answer goes to standard output; all that is said about it to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.catalog.model import Model
    from spark_activator.cli.asking import Piece, Place
    from spark_activator.cli.conversation import Conversation

# A person sees no difference to less, and reading a small file costs nothing.
LOOK_EVERY = 0.25
DIM, PLAIN = "\033[2m", "\033[0m"
# What a model says may not move the cursor: all controls but tab and line feed.
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    text = "a conversation in the terminal"
    sub = command(commands, "chat", text, _run)
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("prompt", nargs="?", metavar="PROMPT", help="ask this, and end")
    sub.add_argument("--key-file", metavar="FILE", help="has an API key in its first line")


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli.conversation import Conversation

    model = _find(layout, arguments.name)
    key = None if arguments.key_file is None else _key_in(Path(arguments.key_file))
    chat = Chat(
        layout,
        model,
        arguments.name,
        Conversation(model.client.context or model.context),
        _place(layout, model),
        key,
    )
    if arguments.prompt is not None:
        chat.turn(arguments.prompt)
        return 0
    return _converse(chat)


def _find(layout: Layout, name: str) -> Model:
    """Return the model that goes by *name*, which may be an alias.

    Raises:
        UserError: There is none, or it is not switched on.
    """
    from spark_activator.cli import models

    known: dict[str, Model] = {}
    for one in models.names(layout):
        with contextlib.suppress(UserError):  # a broken one is nobody's model
            model = models.load(layout, one)
            known |= dict.fromkeys(model.names, model)
    if name not in known:
        raise models.unknown(name, [*known])
    model = known[name]
    if not (layout.markers / model.name).exists():
        raise UserError(
            f"'{model.name}' is not switched on", hint=f"run: sudo spark-model enable {model.name}"
        )
    return model


def _place(layout: Layout, model: Model) -> Place:
    from spark_activator.cli.asking import Place
    from spark_activator.render.units import ENDPOINT_PORT

    # Without its list nginx knows no model, and the model's own port answers all the same.
    return Place(ENDPOINT_PORT if layout.routes_file.exists() else model.port)


def _key_in(file: Path) -> str:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    return _checked(lines[0] if lines else "", f" in the first line of {file}")


def _typed_key() -> str | None:
    """Ask for the API key, without showing it; None where the person gives up."""
    try:
        typed = getpass.getpass("API key: ")
    except EOFError:
        _tell("")  # the terminal still stands behind the question
        return None
    return _checked(typed) if typed.strip() else None


def _checked(text: str, where: str = "") -> str:
    key = text.strip()
    # A header could not carry another.
    if not key or not key.isascii() or not key.isprintable():
        raise UserError(f"expected an API key{where}")
    return key


def _converse(chat: Chat) -> int:
    interactive = sys.stdin.isatty()
    if interactive:
        # Importing it gives `input` a line that can be edited.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # input() uses it once it is loaded
        _tell(f"{chat.name}: Ctrl-C ends an answer, Ctrl-D the conversation")
    while True:
        try:
            text = input("> ") if interactive else _next_line()
        except KeyboardInterrupt:
            _tell("\nCtrl-D ends the conversation")
            continue
        except EOFError:
            if interactive:
                print()
            return 0
        if not text.strip():
            continue
        try:
            chat.turn(text)
        except KeyboardInterrupt:
            print(flush=True)
        except UserError as error:
            if not interactive:
                raise
            hint = f" (hint: {error.hint})" if error.hint else ""
            _tell(f"{error.message}{hint}")


def _next_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


@dataclass(slots=True)
class Chat:
    """One conversation with *model*, called *name* in requests."""

    layout: Layout
    model: Model
    name: str
    conversation: Conversation
    place: Place
    key: str | None = None
    _dim: bool = field(default=False, init=False)

    def turn(self, text: str) -> None:
        """Ask *text* and print the answer as it comes.

        Raises:
            UserError: It is refused; the question is forgotten.
            KeyboardInterrupt: Somebody has seen enough; what came is remembered.
        """
        from spark_activator.cli.asking import KeyNeeded

        forgotten = self.conversation.ask(text)
        if forgotten:
            _tell(f"the {forgotten} oldest messages no longer fit and are forgotten")
        said: list[str] = []
        tokens = None
        try:
            try:
                tokens = self._answer(said)
            except KeyNeeded:
                if self.key is not None or not sys.stdin.isatty():
                    raise
                tokens = self._with_typed_key(said)
        finally:
            self._undim()
            self.conversation.answer("".join(said), tokens)
        print(flush=True)

    def _with_typed_key(self, said: list[str]) -> int | None:
        from spark_activator.cli.asking import KeyNeeded

        self.key = _typed_key()
        try:
            return self._answer(said)
        except KeyNeeded:
            self.key = None  # the next question asks for it again
            raise

    def _answer(self, said: list[str]) -> int | None:
        from spark_activator.cli import asking

        limits = self.model.timeouts
        pieces = asking.stream(
            self.place,
            self.name,
            self.conversation.messages,
            key=self.key,
            timeout=limits.start + limits.stall,
        )
        tokens, finish = None, ""
        with contextlib.closing(pieces):
            for piece in self._after_load(pieces):
                self._show(piece.reasoning, reasoning=True)
                self._show(piece.text)
                said.append(piece.text)
                tokens = piece.tokens or tokens
                finish = piece.finish or finish
        if finish == "length":
            _tell("\n(it ended at its limit of tokens)")
        return tokens

    def _after_load(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Show how far the start is until there is something to read."""
        with _loading(self.layout, self.model.name):
            first = next((piece for piece in pieces if piece.text or piece.reasoning), None)
        if first is not None:
            yield first
        yield from pieces

    def _show(self, text: str, *, reasoning: bool = False) -> None:
        if not text:
            return
        if reasoning:
            # Of no use to a program, and not part of the answer.
            if sys.stderr.isatty():
                print(("" if self._dim else DIM) + text.translate(_CONTROLS), end="",
                      file=sys.stderr, flush=True)  # fmt: skip
                self._dim = True
            return
        self._undim()
        clean = text.translate(_CONTROLS) if sys.stdout.isatty() else text
        print(clean, end="", flush=True)

    def _undim(self) -> None:
        if self._dim:
            print(PLAIN, file=sys.stderr, flush=True)
            self._dim = False


@contextlib.contextmanager
def _loading(layout: Layout, name: str) -> Iterator[None]:
    """Show what the runner of *name* says, for the duration of the block."""
    from spark_activator.cli import aside, models
    from spark_activator.cli.progress import Progress
    from spark_activator.state import Phase

    over = threading.Event()
    progress = Progress(sys.stderr)

    def look() -> None:
        while not over.wait(LOOK_EVERY):
            state = None
            with contextlib.suppress(OSError):  # whoever may not look still gets the answer
                state = models.read_state(layout, name)
            if state is None or state.phase is not Phase.READY:
                progress.show(state)

    looker = threading.Thread(target=look, daemon=True)
    aside.start(looker)
    try:
        yield
    finally:
        over.set()
        looker.join()
        progress.end()


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)

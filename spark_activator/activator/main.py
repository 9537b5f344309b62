"""Start: the listener from systemd, the frozen model from its file, then one activation."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import trio

from spark_activator import listen
from spark_activator.activator.activation import Activation
from spark_activator.catalog import frozen
from spark_activator.catalog.model import Model
from spark_activator.errors import FileProblems, Refusal, UserError
from spark_activator.layout import Layout

logger = logging.getLogger(__name__)

# What journald reads at the beginning of a line; see sd-daemon(3).
_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_LEVELS.get(record.levelno, 3)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def main(arguments: Sequence[str]) -> int:
    """Run the activator of the model that the one argument names."""
    _log_to_journal(debug=os.environ.get("SPARK_LOG") == "debug")
    if len(arguments) != 1 or "/" in arguments[0] or arguments[0].startswith("."):
        logger.error("expected the name of one model, got %r", arguments)
        return 2
    [name] = arguments
    layout = Layout.from_environment(os.environ)
    try:
        listeners = listen.listeners(listen.inherited(), "model")
    except UserError as error:
        logger.error("%s (%s)", error.message, error.hint)
        return 1
    activation = Activation(name, layout, load(name, layout), listeners)
    return 0 if trio.run(activation.run, strict_exception_groups=True) else 1


def load(name: str, layout: Layout) -> Model | Refusal:
    """Read the frozen model.

    A broken file is no reason to die: clients must be told, and systemd would
    only start us again.
    """
    path = layout.frozen(name)
    try:
        return frozen.load(path.read_text(), file=str(path))
    except (OSError, UnicodeDecodeError, FileProblems) as error:
        logger.error("Cannot read the frozen model: %s", error)
        return Refusal(
            "model_file_broken", f"the model file of '{name}' is broken (see: spark-model check)"
        )


def _log_to_journal(*, debug: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if debug:
        # Ours alone: what libraries say at that level is not about requests.
        logging.getLogger("spark_activator").setLevel(logging.DEBUG)

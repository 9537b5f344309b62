"""What was frozen: the model, and what is true of the machine.

Read anew for each activation, so that what `update` wrote holds from the next
start on.
"""

from __future__ import annotations

import logging

from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Model
from spark_activator.errors import EngineFailed, FileProblems
from spark_activator.layout import Layout

logger = logging.getLogger(__name__)


def load_model(layout: Layout, name: str) -> Model:
    """Read the frozen model *name*.

    Raises:
        EngineFailed: It is not there or broken.
    """
    file = layout.frozen(name)
    try:
        model = frozen.load(file.read_text("utf-8"), file=str(file))
    except (OSError, ValueError, FileProblems) as error:
        logger.error("Cannot read the frozen model: %s", error)
        raise EngineFailed(
            "model_file_broken", f"'{name}' cannot be read (run: spark-model update {name})"
        ) from error
    return model


def load_host(layout: Layout) -> HostSettings:
    """Read the frozen host settings; without them the defaults hold."""
    file = layout.frozen_host
    try:
        return frozen.load_host(file.read_text("utf-8"), file=str(file))
    except FileNotFoundError:
        return HostSettings()
    except (OSError, ValueError, FileProblems) as error:
        logger.warning("Cannot read the host settings, using the defaults: %s", error)
        return HostSettings()

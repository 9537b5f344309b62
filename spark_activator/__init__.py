"""Serve language models on demand by systemd socket activation, one process pair a model."""

import os
import sys

__version__ = "0.1.0"

# A process keeps the code that it started with: `/opt/spark-activator/current` is
# a link that an upgrade switches, and a module that is imported later would come
# from the new version.
__path__ = [os.path.realpath(path) for path in __path__]
sys.path[:] = [os.path.realpath(path) if path else path for path in sys.path]

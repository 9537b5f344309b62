"""A model → SGLang's command line.  Pure.

SGLang has no unix socket (up to 0.5.23): `bridge.py` serves on the runner's and
relays to the loopback of the container, where nobody else is.
"""

from __future__ import annotations

from pathlib import Path

from spark_activator.catalog import lease
from spark_activator.catalog.model import Model

# SGLang's own default; with `network: none` nobody else has ports there.
PORT = 30000
# Where the bridge is, outside and inside of the container.
BRIDGE = str(Path(__file__).with_name("bridge.py"))
BRIDGE_INSIDE = "/run/spark-bridge.py"


def command(model: Model, start: tuple[str, ...], socket: str, memory: int) -> tuple[str, ...]:
    """Return the whole command line; *start* is the entrypoint, *memory* the GPU's bytes."""
    # Images differ: most start a shell, and the seed's nothing at all.
    serves = model.container.entrypoint is not None or any("sglang" in word for word in start)
    server = () if serves else ("python3", "-m", "sglang.launch_server")
    relay = ("python3", "-I", BRIDGE_INSIDE, socket, str(PORT))
    return (*relay, *start, *server, *arguments(model, memory))


def arguments(model: Model, memory: int) -> tuple[str, ...]:
    """Return SGLang's arguments: the owner's, then what lease and model file decide.

    The fraction is of the memory that is available when SGLang starts, which is
    never more than all of it: so it stays below the lease, whoever else is there.
    """
    assert model.image is not None
    words = ["--model-path", model.source.model, "--served-model-name", model.name]
    if model.source.revision is not None and not model.source.model.startswith("/"):
        words += ["--revision", model.source.revision]
    if model.context is not None:
        words += ["--context-length", str(model.context)]
    if not model.image.cpu:
        # Rounded down: the lease is what the engine is held to.
        share = int(min(lease.static_memory(model) / memory, 1.0) * 10_000) / 10_000
        words += ["--mem-fraction-static", f"{share:.4f}"]
        words += ["--chunked-prefill-size", str(lease.chunk(model.memory))]
    words += ["--host", "127.0.0.1", "--port", str(PORT)]
    return ("--max-running-requests", str(lease.RUNNING), *model.args, *words)

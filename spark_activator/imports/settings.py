"""Environment, volumes and limits of a container → a draft."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from spark_activator.imports.draft import Draft

# Whoever may read a model file must not read these.
_SECRET = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$")
# What the runner sets, or where it mounts.
_OURS = {
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "XDG_CACHE_HOME",
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK",
    "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "VLLM_ENGINE_READY_TIMEOUT_S",
}  # fmt: skip
_ESTIMATE = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([bkmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# Caches of weights and of compiled kernels, which every container gets.
_CACHES = ("/.cache/", "/models", "/tmp/torchinductor", "/torch_extensions")  # noqa: S108  # names, not files


def environment(draft: Draft, variables: Mapping[str, object]) -> None:
    """Put *variables* into *draft*; values of secrets are never repeated."""
    for name, value in variables.items():
        text = "" if value is None else str(value)
        if not _NAME.fullmatch(name):
            draft.lose(f"env {name!r}: expected a name of letters, digits and '_'")
        elif _SECRET.search(name):
            draft.computed.append(f"{name}: a secret; weights are fetched before, keys are nginx's")
        elif name in _OURS:
            draft.computed.append(f"{name}: is set by the runner")
        elif name == _ESTIMATE and text != "1":
            draft.lose(f"{name}={text}: lets CUDA graphs take memory beside the lease")
        else:
            draft.env[name] = text


def pairs(lines: Iterable[object]) -> dict[str, object]:
    """Read `NAME=value` lines; a name alone takes its value from whoever starts it."""
    split = (str(line).partition("=") for line in lines)
    return {name: value for name, _, value in split}


def volume(draft: Draft, line: str) -> None:
    """Put a volume `HOST:INSIDE[:ro]` into *draft*."""
    host, _, rest = line.partition(":")
    inside = rest.partition(":")[0]
    if not inside:
        draft.lose(f"volume {line}: expected HOST:INSIDE")
    elif any(cache in f"{inside}/" for cache in _CACHES):
        draft.computed.append(f"volume {inside}: caches are the runner's")
    elif host.startswith("/") and inside.startswith("/") and "$" not in host:
        draft.mounts[inside] = host
        draft.comment("container", "Mounts are read-only.")
    else:
        draft.lose(f"volume {line}: name it in container.mounts, with its whole path")


def shared_memory(draft: Draft, text: str) -> None:
    """Put a size as Docker writes it, `16g`, into *draft*: on unified memory it counts."""
    found = _SIZE.fullmatch(text)
    if found is None:
        draft.lose(f"shm_size {text}: expected a size such as 16g")
        return
    draft.computed.append(
        f"shm of {text}: the default of 1 GiB is enough for one GPU, and it counts on its memory"
    )


def ulimit(draft: Draft, name: str, value: object) -> None:
    """Put one limit into *draft*."""
    if isinstance(value, Mapping):
        value = value.get("hard", value.get("soft"))
    try:
        draft.ulimits[name] = int(str(value).partition(":")[0])
    except ValueError:
        draft.lose(f"ulimit {name}={value}: expected a number")

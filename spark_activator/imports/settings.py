"""Environment, volumes and limits of a container → a draft."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from spark_activator.imports import hidden
from spark_activator.imports.draft import Draft

# What the runner sets, or where it mounts.
_OURS = {
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "XDG_CACHE_HOME",
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK",
    "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "VLLM_ENGINE_READY_TIMEOUT_S",
}  # fmt: skip
_ESTIMATE = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What only a shell would know.
UNKNOWN = re.compile(r"\$[A-Za-z_{(]|`")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([bkmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# Caches of weights and of compiled kernels, which every container gets.
_CACHES = ("/.cache/", "/models", "/tmp/torchinductor", "/torch_extensions")  # noqa: S108  # names, not files


def environment(draft: Draft, variables: Mapping[str, object]) -> None:
    """Put *variables* into *draft*; values of secrets are never repeated."""
    for key, value in variables.items():
        name, text = str(key), plain(value)
        if not _NAME.fullmatch(name):
            draft.lose(f"env {name!r}: expected a name of letters, digits and '_'")
        elif hidden.is_secret(name, ""):
            draft.computed.append(f"{name}: a secret; weights are fetched before, keys are nginx's")
        elif name in _OURS:
            draft.computed.append(f"{name}: is set by the runner")
        elif hidden.is_secret(name, text):
            draft.lose(f"{name}: has a secret in it, which does not belong into a model file")
        elif UNKNOWN.search(text):
            from_outside(draft, name)
        elif name == _ESTIMATE and text != "1":
            draft.lose(f"{name}={text}: lets CUDA graphs take memory beside the lease")
        else:
            draft.env[name] = text


def from_outside(draft: Draft, name: str) -> None:
    """Say that the value of the variable *name* is known to a shell alone."""
    if hidden.is_secret(name, ""):
        environment(draft, {name: ""})
    else:
        draft.lose(f"{name}: its value comes from whoever starts it; write it into env")


def plain(value: object) -> str:
    """Write a value of YAML as an environment or a command line has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # YAML can escape halves of letters, which no file can hold.
    halves = "" if value is None else str(value)
    return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def pairs(lines: Iterable[object]) -> dict[str, object]:
    """Read `NAME=value` lines; a name alone takes its value from whoever starts it."""
    split = (str(line).partition("=") for line in lines)
    return {name: value for name, _, value in split}


def volume(draft: Draft, line: str) -> None:
    """Put a volume `HOST:INSIDE[:ro]` into *draft*."""
    host, _, rest = line.partition(":")
    inside = rest.partition(":")[0]
    if inside:
        _mounted(draft, host, inside, line)
    else:
        draft.lose(f"volume {line}: expected HOST:INSIDE")


def mount(draft: Draft, line: str) -> None:
    """Put a mount as `docker run --mount` has it, `type=bind,src=…,dst=…`, into *draft*."""
    said = pairs(line.split(","))
    host = plain(said.get("source") or said.get("src"))
    inside = plain(said.get("target") or said.get("dst") or said.get("destination"))
    if said.get("type") == "bind" and host and inside:
        _mounted(draft, host, inside, line)
    else:
        draft.lose(f"mount {line}: expected type=bind with a source and a target")


def _mounted(draft: Draft, host: str, inside: str, line: str) -> None:
    if any(cache in f"{inside}/" for cache in _CACHES):
        draft.caches[inside] = host
    elif not host.startswith("/") or not inside.startswith("/") or UNKNOWN.search(host):
        draft.lose(f"volume {line}: name it in container.mounts, with its whole path")
    elif hidden.is_private(host):
        draft.lose(f"volume {line}: no engine gets that place of the host")
    else:
        draft.mounts[inside] = host
        if "Mounts are read-only." not in draft.comments.get("container", ()):
            draft.comment("container", "Mounts are read-only.")


def caches(draft: Draft) -> None:
    """Leave caches out, but for the one in which the model itself lies."""
    for inside, host in draft.caches.items():
        if f"{draft.model}/".startswith(f"{inside}/") and host.startswith("/"):
            draft.mounts[inside] = host
        else:
            draft.computed.append(f"volume {inside}: caches are the runner's")
    draft.caches = {}


def device(draft: Draft, line: str) -> None:
    """Put a device, `/dev/x[:/dev/y[:rwm]]`, into *draft*."""
    path = line.partition(":")[0]
    if path.startswith("/dev/nvidia") or "=" in path:
        draft.computed.append(f"device {path}: the GPU's come by themselves")
    elif hidden.is_harmless_device(path):
        draft.devices.append(path)
    else:
        draft.lose(f"device {path}: is none that an engine needs; else name it yourself")


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

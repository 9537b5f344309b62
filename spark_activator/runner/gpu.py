"""What NVML says of the GPU: its memory, and whose it is.

    python -m spark_activator.runner.gpu

prints it.  The first GPU counts.  Nothing here raises: a machine without a GPU,
without the driver or with one that hangs on to nothing is a machine about which
NVML says nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# Without this node there is no driver, and NVML need not be loaded to hear so.
CONTROL_NODE = "/dev/nvidiactl"


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Memory of the GPU itself, in bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on the GPU.

    Attributes:
        pid: Its number as the driver counts, which is the host's.
        name: What the kernel calls it, empty where we may not see it.
        memory: Bytes that it has, None where the driver does not say.
        group: Its control group, empty where we may not see it.
    """

    pid: int
    name: str
    memory: int | None
    group: str = ""


class Nvml:
    """The driver's library, loaded when it is first asked; every answer may be nothing."""

    def __init__(self) -> None:
        self._api: Any = None
        self._device: Any = None
        self._tried = False
        self._total: int | None = None

    def memory(self) -> GpuMemory | None:
        """Return the GPU's memory; None where the driver does not know of any.

        A card that has answered once and does not now has nothing available.
        """
        api = self._load()
        if api is None:
            return None
        try:
            info = api.nvmlDeviceGetMemoryInfo(self._device)
        except api.NVMLError as error:
            logger.debug("NVML does not say how much memory there is: %s", error)
            return None if self._total is None else GpuMemory(self._total, 0)
        self._total = int(info.total)
        return GpuMemory(self._total, int(info.free))

    def processes(self, proc: Path) -> tuple[GpuProcess, ...]:
        """Return who computes on the GPU, the largest first."""
        api = self._load()
        if api is None:
            return ()
        try:
            listed = api.nvmlDeviceGetComputeRunningProcesses(self._device)
        except api.NVMLError as error:
            logger.debug("NVML does not say who uses the GPU: %s", error)
            return ()
        found = [self._process(int(entry.pid), entry.usedGpuMemory, proc) for entry in listed]
        return tuple(sorted(found, key=lambda process: -(process.memory or 0)))

    def _process(self, pid: int, memory: int | None, proc: Path) -> GpuProcess:
        group = _read(proc / str(pid) / "cgroup")
        name = _read(proc / str(pid) / "comm")
        if not name:
            try:
                name = os.path.basename(str(self._api.nvmlSystemGetProcessName(pid)))
            except (self._api.NVMLError, UnicodeDecodeError):
                name = ""
        return GpuProcess(pid, name, None if memory is None else int(memory), group)

    def _load(self) -> Any:  # noqa: ANN401  # the library has no types
        if self._tried:
            return self._api
        self._tried = True
        if not os.path.exists(CONTROL_NODE):
            return None
        try:
            import pynvml  # type: ignore[import-untyped]  # it has no types
        except ImportError:
            logger.warning("The package nvidia-ml-py is missing: the GPU's memory is not measured")
            return None
        try:
            pynvml.nvmlInit()
            self._device = pynvml.nvmlDeviceGetHandleByIndex(0)
            self._api = pynvml
        except pynvml.NVMLError as error:
            logger.warning("NVML does not answer, the GPU's memory is not measured: %s", error)
        return self._api


@cache
def nvml() -> Nvml:
    """Return the library of this process: loading it twice would cost a second or two."""
    return Nvml()


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""


def main() -> int:
    """Print what NVML says and return the exit status."""
    memory = nvml().memory()
    if memory is None:
        sys.stdout.write("GPU memory: NVML says nothing\n")
    else:
        mib = 1 << 20
        sys.stdout.write(
            f"GPU memory: {memory.total // mib} MiB in all, {memory.free // mib} MiB free\n"
        )
    for process in nvml().processes(Path("/proc")):
        size = "?" if process.memory is None else str(process.memory >> 20)
        sys.stdout.write(f"process {process.pid} ({process.name or '?'}): {size} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

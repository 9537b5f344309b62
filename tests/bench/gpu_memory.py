"""4 GiB of a real GPU, taken through libcuda and given back, as our own module sees them.

    python tests/bench/gpu_memory.py

No torch: the driver's library is called as it is.  Fails where the reading does
not follow.  On unified memory the gauge is `MemAvailable`, on a card NVML.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from spark_activator.catalog.host import HostSettings
from spark_activator.runner.memory import Gauge
from spark_activator.runner.memory_values import GIB, Memory, budget_of

SIZE = 4 * GIB
# What others on the machine take and give meanwhile.
NOISE = GIB // 4
# The driver gives memory back at once, or within a moment.
RETURN_LIMIT = 10.0


class Cuda:
    """The five calls that are needed; each error ends the program."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise SystemExit(f"{name}: CUDA error {status}")

    def allocate(self, size: int) -> ctypes.c_uint64:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        # Really taken, also where memory is given out on first touch.
        self.call("cuMemsetD8_v2", address, ctypes.c_ubyte(1), ctypes.c_size_t(size))
        self.call("cuCtxSynchronize")
        return address

    def free(self, address: ctypes.c_uint64) -> None:
        self.call("cuMemFree_v2", address)
        self.call("cuCtxSynchronize")


def show(when: str, gauge: Gauge) -> Memory:
    reading = gauge.read()
    kind = "GPU's own" if reading.gpu else "the host's"
    room = reading.leased
    print(
        f"{when:8} {kind}: {room.available / GIB:.2f} of {room.total / GIB:.2f} GiB available, "
        f"floor {room.floor / GIB:.2f} GiB, budget {budget_of(HostSettings(), reading) / GIB:.2f}"
    )
    for process in gauge.processes():
        size = "?" if process.memory is None else f"{process.memory / GIB:.2f} GiB"
        print(f"{'':8} process {process.pid} '{process.name}': {size}")
    return reading


def main() -> int:
    gauge = Gauge(Path("/proc"), HostSettings())
    cuda = Cuda()
    print(f"our own process is {os.getpid()}")
    before = show("before", gauge).leased.available
    address = cuda.allocate(SIZE)
    during = show("while", gauge).leased.available
    cuda.free(address)
    deadline = time.monotonic() + RETURN_LIMIT
    while gauge.read().leased.available < before - NOISE and time.monotonic() < deadline:
        time.sleep(0.05)  # noqa: TID251  # the driver tells nobody
    after = show("after", gauge).leased.available
    took, left = before - during, before - after
    print(f"4 GiB taken: {took / GIB:.2f} GiB less; given back: {left / GIB:.2f} GiB less")
    return 0 if abs(took - SIZE) <= NOISE and abs(left) <= NOISE else 1


if __name__ == "__main__":
    sys.exit(main())

"""A `/proc` that says what a test wants of memory."""

from __future__ import annotations

from pathlib import Path

GIB = 1 << 30


class FakeProc:
    """What the kernel says of memory, as we please."""

    def __init__(self, root: Path, total: int) -> None:
        self.root = root
        self._total = total
        (root / "pressure").mkdir(parents=True)
        self.available(total)

    def available(self, size: int, free: int | None = None) -> None:
        sizes = {"MemTotal": self._total, "MemFree": size if free is None else free}
        sizes["MemAvailable"] = size
        lines = [f"{name}: {value // 1024} kB\n" for name, value in sizes.items()]
        self._write("meminfo", "".join(lines))

    def stalled(self, seconds: float) -> None:
        words = "avg10=0.00 avg60=0.00 avg300=0.00"
        text = f"some {words} total=0\nfull {words} total={int(seconds * 1e6)}\n"
        self._write("pressure/memory", text)

    def _write(self, name: str, text: str) -> None:
        (self.root / "new").write_text(text)
        (self.root / "new").rename(self.root / name)

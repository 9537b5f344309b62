"""Where a request stands, as headers of its refusal: place, phase, and who is in the way."""

from __future__ import annotations

from spark_activator.protocol import Failed, FromRunner, Queued, Starting


def standing(line: FromRunner | None, now: float) -> dict[str, str]:
    """Return headers for what the runner said last; *now* is CLOCK_BOOTTIME."""
    match line:
        case Starting(phase):
            return {"X-Spark-Phase": _safe(phase)}
        case Queued():
            return {
                "X-Spark-Phase": "queued",
                "X-Spark-Queue-Position": str(line.position),
                # Who never goes is not waited for.
                **_in_the_way(line.holder, line.due, now, goes=True),
                **_seconds("X-Model-Uptime-Sec", line.since, now),
                # 0 while it is busy.
                **_seconds("X-Model-Idle-Sec", line.idle_since or (line.since and now), now),
            }
        case Failed():
            goes = line.code == "gpu_busy" or line.due is not None
            return _in_the_way(line.holder, line.due, now, goes=goes)
    return {}


def _in_the_way(holder: str | None, due: float | None, now: float, *, goes: bool) -> dict[str, str]:
    if holder is None:
        return {}
    fields = {"X-Busy-Model": _safe(holder), "X-Model-Will-Auto-Stop": str(goes).lower()}
    if due is not None:
        fields["X-Time-Until-Release-Sec"] = str(max(0, round(due - now)))
    return fields


def _seconds(name: str, since: float | None, now: float) -> dict[str, str]:
    return {} if since is None else {name: str(max(0, round(now - since)))}


def _safe(text: str) -> str:
    """Return *text* as a header may have it: programs that lease choose their names."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)

"""What the headers of a refusal say about who is in the way."""

from __future__ import annotations

from spark_activator.http.standing import standing
from spark_activator.protocol import Failed, Queued, Ready, Starting


def test_queued_names_place_holder_and_its_turn() -> None:
    line = Queued(2, ("b", "a"), holder="a", since=100.0, idle_since=160.0, due=400.4)

    assert standing(line, 170.0) == {
        "X-Spark-Phase": "queued",
        "X-Spark-Queue-Position": "2",
        "X-Busy-Model": "a",
        "X-Model-Will-Auto-Stop": "true",
        "X-Time-Until-Release-Sec": "230",
        "X-Model-Uptime-Sec": "70",
        "X-Model-Idle-Sec": "10",
    }


def test_busy_holder_is_idle_for_no_time_and_one_that_is_late_releases_now() -> None:
    told = standing(Queued(1, ("a",), holder="a", since=100.0, due=150.0), 170.0)

    assert told["X-Model-Idle-Sec"] == told["X-Time-Until-Release-Sec"] == "0"


def test_nothing_is_said_that_is_not_known() -> None:
    plain = {"X-Spark-Phase": "queued", "X-Spark-Queue-Position": "1"}
    assert standing(Queued(1), 0) == plain
    assert standing(Starting("weights", 0.4), 0) == {"X-Spark-Phase": "weights"}
    assert standing(None, 0) == standing(Ready("0a0b0c0d"), 0) == {}
    assert standing(Failed("start_failed", "why"), 0) == {}


def test_refusal_names_who_keeps_the_memory_and_whether_it_goes() -> None:
    pinned = standing(Failed("gpu_held", "why", holder="p"), 0)
    assert pinned == {"X-Busy-Model": "p", "X-Model-Will-Auto-Stop": "false"}
    lent = standing(Failed("gpu_held", "why", holder="train", due=60.0), 0)
    assert lent["X-Model-Will-Auto-Stop"] == "true"
    assert lent["X-Time-Until-Release-Sec"] == "60"
    busy = standing(Failed("gpu_busy", "why", holder="b"), 0)
    assert busy["X-Model-Will-Auto-Stop"] == "true"


def test_names_that_programs_chose_make_no_headers() -> None:
    told = standing(Failed("gpu_held", "why", holder="a\r\nX-Evil: \u00e9"), 0)

    assert told["X-Busy-Model"] == "a??X-Evil: ?"

"""Log lines of engines → how far they are."""

from __future__ import annotations

import pytest

from spark_activator.runner.lines import not_heard
from spark_activator.runner.progress import Progress, Tracker, read_line
from spark_activator.state import Phase


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:03<00:03,  1.5s/it]",
            Progress(Phase.WEIGHTS, 0.5),
        ),
        ("(EngineCore pid=7) INFO Loading weights took 3.21 seconds", Progress(Phase.WEIGHTS, 1)),
        ("INFO Dynamo bytecode transform time: 4.1 s", Progress(Phase.COMPILE)),
        ("INFO torch.compile takes 20.3 s in total", Progress(Phase.COMPILE)),
        ("Compiling a graph for dynamic shape takes 12 s", Progress(Phase.COMPILE)),
        (
            "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  25%|██▌   | 17/67",
            Progress(Phase.GRAPHS, 0.25),
        ),
        ("INFO Graph capturing finished in 9 secs", Progress(Phase.GRAPHS, 1)),
        ("INFO:     Application startup complete.", Progress(Phase.WARMUP)),
        (
            "INFO:     Uvicorn running on unix socket /run/upstream/engine.sock",
            Progress(Phase.WARMUP),
        ),
        ("INFO GPU KV cache size: 100% of what is left", None),
        ("", None),
    ],
)
def test_line(line: str, expected: Progress | None) -> None:
    assert read_line(line) == expected


def test_progress_never_goes_back() -> None:
    tracker = Tracker()
    lines = [
        "Loading safetensors checkpoint shards: 100% Completed",
        "torch.compile takes 1 s",
        # The draft model has weights too.
        "Loading safetensors checkpoint shards:   0% Completed",
        "Capturing CUDA graphs: 50%",
        "Capturing CUDA graphs: 10%",
    ]
    moved = [tracker.hear(line) for line in lines]

    assert moved == [True, True, False, True, False]
    assert tracker.now == Progress(Phase.GRAPHS, 0.5)


def test_prompt_that_looks_like_progress_is_too_far_in() -> None:
    assert read_line("x" * 500 + "Uvicorn running") is None


@pytest.mark.parametrize(
    ("heard", "end", "missing"),
    [
        ([], ["a", "b"], ["a", "b"]),
        (["a", "b"], ["a", "b"], []),
        (["x", "a"], ["a", "b"], ["b"]),
        (["a", "a"], ["a", "a", "a"], ["a"]),
        (["x"], ["a", "b"], ["a", "b"]),
        (["a"], [], []),
    ],
)
def test_what_is_missing_at_the_end_of_a_log_is_told_once(
    heard: list[str], end: list[str], missing: list[str]
) -> None:
    assert list(not_heard(heard, end)) == missing

"""What a log says of a start that failed."""

from __future__ import annotations

import pytest

from spark_activator.runner.breaker import Cause
from spark_activator.runner.clues import OUT_OF_MEMORY, Clues, exited


def judged(*lines: str, code: str = "start_failed", how: str = exited(1)) -> Cause:
    clues = Clues()
    for line in lines:
        clues.hear(line)
    return clues.judge(code, how)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", Cause.MEMORY),
        ("RuntimeError: CUDA error: out of memory", Cause.MEMORY),
        ("NVRM: nvCheckOkFailedNoLog: NV_ERR_NO_MEMORY (0x51)", Cause.MEMORY),
        (
            "ValueError: Free memory on device (3.1/119.7 GiB) on startup is less than desired "
            "GPU memory utilization (0.5, 59.8 GiB).",
            Cause.MEMORY,
        ),
        ("ValueError: No available memory for the cache blocks. Try", Cause.SETTINGS),
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
            Cause.SETTINGS,
        ),
        ("huggingface_hub.errors.LocalEntryNotFoundError: Cannot find", Cause.WEIGHTS),
        ("RuntimeError: told to exit", Cause.OTHER),
    ],
)
def test_line_and_cause(line: str, cause: Cause) -> None:
    assert judged("loading", line, "RuntimeError: Engine core initialization failed") is cause


def test_usage_counts_with_its_status_only() -> None:
    line = "vllm: error: unrecognized arguments: --fast"

    assert judged(line, how=exited(2)) is Cause.SETTINGS
    assert judged(line, how=exited(1)) is Cause.OTHER
    assert judged("nothing", how=exited(2)) is Cause.OTHER


def test_first_clue_counts() -> None:
    assert judged("NV_ERR_NO_MEMORY", "LocalEntryNotFoundError") is Cause.MEMORY


def test_code_and_end_without_a_line() -> None:
    assert judged(how=OUT_OF_MEMORY) is Cause.MEMORY
    assert judged(code="memory_short", how="") is Cause.MEMORY
    assert judged(code="image_missing", how="") is Cause.IMAGE
    assert judged(code="weights_missing", how="") is Cause.WEIGHTS
    assert judged("CUDA out of memory", code="start_timeout", how="") is Cause.OTHER

"""What `/metrics` says, under vLLM's names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_HELP = {
    "num_requests_running": ("gauge", "Number of requests that generate."),
    "num_requests_waiting": ("gauge", "Number of requests waiting to generate."),
    "prompt_tokens_total": ("counter", "Number of prompt tokens processed."),
    "generation_tokens_total": ("counter", "Number of tokens generated."),
}


@dataclass(slots=True)
class Metrics:
    """Counts of one engine."""

    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    # By the reason why they ended; `abort` is a client that left.
    finished: dict[str, int] = field(
        default_factory=lambda: {"stop": 0, "length": 0, "abort": 0, "error": 0}
    )

    @contextmanager
    def one_waiting(self) -> Iterator[None]:
        """Count a request as waiting during the block."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    @contextmanager
    def one_running(self) -> Iterator[None]:
        """Count a request as running during the block."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def render(self, model: str) -> str:
        """Write all of it in Prometheus' text format."""
        name = model.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        labels = f'engine="0",model_name="{name}"'
        values = (self.running, self.waiting, self.prompt_tokens, self.generation_tokens)
        lines = []
        for (metric, (kind, text)), value in zip(_HELP.items(), values, strict=True):
            # In this format the family of a counter has its name with the suffix.
            lines.append(f"# HELP vllm:{metric} {text}")
            lines.append(f"# TYPE vllm:{metric} {kind}")
            lines.append(f"vllm:{metric}{{{labels}}} {float(value)}")
        lines.append("# HELP vllm:request_success_total Number of requests that ended.")
        lines.append("# TYPE vllm:request_success_total counter")
        lines += [
            f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {float(count)}'
            for reason, count in self.finished.items()
        ]
        return "\n".join(lines) + "\n"

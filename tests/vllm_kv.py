"""What the installed vLLM keeps for each layer of a model: run by that vLLM's own interpreter.

    PYTHON tests/vllm_kv.py CASES.json NAME

CASES.json holds small configurations by name.  The model of NAME is made with random
weights and loaded as `vllm serve` would load it; what its layers then ask for
(`get_kv_cache_spec`) is printed as JSON on the last line.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# The worker in this process, so that it can be asked; and a cache that fits beside tests.
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
CONTEXT = 512


class Asked(Exception):
    """The engine has what it asked the layers for, and need not start any further."""


def specs(case: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Load the model of *case* from *directory* and hear what its layers answer the engine."""
    import vllm
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    heard: dict[str, Any] = {}
    ask = CPUModelRunner.get_kv_cache_spec

    def asked(runner: Any) -> Any:
        heard.update(ask(runner))
        # What comes next needs a processor that can work with such a cache.
        raise Asked

    CPUModelRunner.get_kv_cache_spec = asked
    (directory / "config.json").write_text(json.dumps(case["config"]))
    with contextlib.suppress(Asked):
        vllm.LLM(
            model=str(directory),
            load_format="dummy",
            skip_tokenizer_init=True,
            enforce_eager=True,
            max_model_len=CONTEXT,
            kv_cache_dtype=case["kv_cache_dtype"],
        )
    return {
        "vllm": vllm.__version__.partition("+")[0],
        "layers": [
            {
                "kind": type(spec).__name__,
                "block": spec.block_size,
                "page": spec.page_size_bytes,
                "window": getattr(spec, "sliding_window", None),
                "state": state(spec),
            }
            for _, spec in sorted(heard.items())
        ],
    }


def state(spec: Any) -> int | None:
    """Add up the tensors of a linear or Mamba layer; a page of it is padded to that of others."""
    if not hasattr(spec, "shapes"):
        return None
    return sum(
        math.prod(shape) * dtype.itemsize
        for shape, dtype in zip(spec.shapes, spec.dtypes, strict=True)
    )


def main() -> None:
    """Print what the case that is named asks for."""
    case = json.loads(Path(sys.argv[1]).read_text())[sys.argv[2]]
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):
        found = specs(case, Path(directory))
    print(json.dumps(found))


main()

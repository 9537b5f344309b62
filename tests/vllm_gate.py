"""What the installed vLLM makes a router of Qwen3-Next of: run by that vLLM's own interpreter.

    PYTHON tests/vllm_gate.py

A block of a small Qwen3-Next is made as the engine makes it, its checkpoint quantized by
AutoRound.  The names of the parameters of its gates are printed as JSON on the last line.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from types import SimpleNamespace
from typing import Any

# As in the checkpoint: 4 bits, groups of 128, packed as GPTQ does.
QUANTIZED = {
    "quant_method": "auto-round",
    "bits": 4,
    "group_size": 128,
    "sym": True,
    "packing_format": "auto_round:auto_gptq",
}
SIZES = {
    "hidden_size": 256,
    "num_experts": 64,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "shared_expert_intermediate_size": 128,
    "hidden_act": "silu",
    "norm_topk_prob": True,
}


def gates() -> dict[str, list[str]]:
    """Make the block and name what its two gates have."""
    import torch
    from vllm.config import DeviceConfig, VllmConfig, set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.model_executor.layers.quantization.inc import INCConfig
    from vllm.plugins import load_general_plugins

    # The first that each process of an engine does.
    load_general_plugins()
    from vllm.model_executor.models.qwen3_next import Qwen3NextSparseMoeBlock

    config: Any = VllmConfig(device_config=DeviceConfig("cpu"))
    torch.set_default_dtype(torch.bfloat16)
    with set_current_vllm_config(config), tempfile.TemporaryDirectory() as directory:
        init_distributed_environment(1, 0, f"file://{directory}/meet", 0, "gloo")
        initialize_model_parallel(1, 1)
        # The block asks for no more of the whole than this.
        config = SimpleNamespace(
            model_config=SimpleNamespace(hf_text_config=SimpleNamespace(**SIZES)),
            parallel_config=config.parallel_config,
            quant_config=INCConfig.from_config(QUANTIZED),
        )
        block = Qwen3NextSparseMoeBlock(config, prefix="model.layers.0.mlp")
        return {
            name: sorted(parameter for parameter, _ in getattr(block, name).named_parameters())
            for name in ("gate", "shared_expert_gate")
        }


def main() -> None:
    """Print what the gates have."""
    with contextlib.redirect_stdout(sys.stderr):
        found = gates()
    print(json.dumps(found))
    sys.stdout.flush()
    # What the engine's libraries do at their end is not asked for.
    os._exit(0)


main()

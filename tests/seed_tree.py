"""A directory of the shape of a dgx-spark-inference-stack checkout (release 0.9.0).

Its `models.json` (without the notes in it) and `opencode.json` are the real ones;
the compose files are written from the facts in `migration/seed.json`, with the
variables of `.env` that stand for some of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

import spark_activator.migration

SEED = Path(__file__).with_name("seed")
FACTS = json.loads(Path(spark_activator.migration.__file__).with_name("seed.json").read_text())
# The placeholder that is shipped, which opencode.json has, too.
KEY = "63TestTOKEN0REPLACEME"

FAMILIES = ("gpt", "glm", "gemma", "llama", "eurollm", "mistral", "nemotron", "qwen")
# Variables that the compose files have in place of a flag's value, by model.
VARIABLES = {
    "glm-4.7-flash-awq": {
        "--max-model-len": "GLM_47_FLASH_AWQ_MAX_MODEL_LEN",
        "--max-num-batched-tokens": "GLM_47_FLASH_AWQ_MAX_NUM_BATCHED_TOKENS",
        "--max-num-seqs": "GLM_47_FLASH_AWQ_MAX_NUM_SEQS",
        "--gpu-memory-utilization": "GLM_47_FLASH_AWQ_GPU_MEMORY_UTILIZATION",
    },
    "gpt-oss-120b": {"--gpu-memory-utilization": "GPT_OSS_120B_GPU_MEMORY_UTILIZATION"},
    "qwen3.5-0.8b": {
        "--mem-fraction-static": "QWEN35_0P8B_GPU_MEMORY_UTILIZATION",
        "--context-length": "QWEN35_0P8B_MAX_MODEL_LEN",
    },
}
IMAGES = {"vllm-node-mxfp4": "VLLM_TRACK_IMAGE_MXFP4", "vllm-node": "VLLM_TRACK_IMAGE_STANDARD"}


def build(root: Path) -> Path:
    """Write the tree below *root*, as it is checked out, with a `.env` that sets the key."""
    entries = json.loads((SEED / "models.json").read_text())
    files: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        family = next(family for family in FAMILIES if family in name)
        services = files.setdefault(f"compose/models-{family}.yml", {})
        services[entry["container"]] = service(name, entry["container"])
    root.mkdir(parents=True, exist_ok=True)
    for file, services in files.items():
        write(root / file, {"services": services})
    control = {
        name: {"image": "nginx:1.27-alpine", "container_name": name, "restart": "unless-stopped"}
        for name in ("vllm-gateway", "vllm-waker", "vllm-request-validator")
    }
    write(root / "docker-compose.yml", {"include": sorted(files), "services": control})
    (root / ".env").write_text(f"# Change it.\nVLLM_API_KEY={KEY}\n")
    for name in ("models.json", "opencode.json"):
        (root / name).write_bytes((SEED / name).read_bytes())
    for place in ("models/models--openai--gpt-oss-20b", "vllm_cache_huggingface/hub"):
        (root / place).mkdir(parents=True)
    return root


def service(name: str, container: str) -> dict[str, Any]:
    """Write the service of a model as compose files do."""
    fact = FACTS["services"][name][-1]
    words = list(fact["argv"])
    for flag, variable in VARIABLES.get(name, {}).items():
        place = words.index(flag) + 1
        words[place] = f"${{{variable}:-{words[place]}}}"
    image = fact["image"]
    body = {
        "image": f"${{{IMAGES[image]}:-{image}}}" if image in IMAGES else image,
        "container_name": container,
        "profiles": ["models"],
        "command": words,
        "environment": {
            "VLLM_API_KEY": f"${{VLLM_API_KEY:-{KEY}}}",
            "HF_HOME": "/root/.cache/huggingface",
            **fact["env"],
        },
        "volumes": ["../vllm_cache_huggingface:/root/.cache/huggingface", "../models:/models"],
        "restart": "no",
        "shm_size": "16g",
    }
    return body | ({"entrypoint": fact["entrypoint"]} if "entrypoint" in fact else {})


def write(file: Path, body: object) -> None:
    """Write a compose file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(body, sort_keys=False))


def edit(file: Path, name: str, **changes: Any) -> None:
    """Change keys of the service *name* in *file*; None takes one out."""
    body = yaml.safe_load(file.read_text())
    service = body["services"].setdefault(name, {})
    service |= changes
    body["services"][name] = {key: value for key, value in service.items() if value is not None}
    write(file, body)

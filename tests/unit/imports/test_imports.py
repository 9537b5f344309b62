"""Recipes, compose files and command lines of their real shape → model files.

The samples are ours, in the shape of the projects that are named; the seed's compose files
are described in its `compose/models-gpt.yml`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_activator.catalog import modelfile
from spark_activator.catalog.images import Entry
from spark_activator.catalog.model import Image, Model
from spark_activator.errors import UserError
from spark_activator.imports import images, parsers, read, write
from spark_activator.imports.draft import SPARK_MOST, Draft, name_of

GIB = 1 << 30
ENTRIES = {
    "vllm-0.28": Entry(Image("vllm-0.28", "vllm/vllm-openai:v0.28.0"), serves="vLLM 0.28.0"),
    "vllm-0.9": Entry(Image("vllm-0.9", "vllm/vllm-openai:v0.9.0"), serves="vLLM 0.9.0"),
    "built": Entry(Image("built", "built:latest"), serves="vLLM 0.30.0", build="vllm-fp4"),
    "vllm-cpu": Entry(Image("vllm-cpu", "vllm-cpu:latest", cpu=True), serves="vLLM 0.32.0"),
}
REGISTRIES = json.loads((Path(__file__).parents[2] / "catalog/vllm-0.32.0.json").read_text())[
    "registries"
]


def one(text: str, **environment: str) -> Draft:
    [draft] = read.drafts(text, origin="test", environment=environment)
    return draft


def made(draft: Draft) -> Model:
    """Write it and read it again, as `spark-model check` does."""
    images.choose(draft, ENTRIES)
    draft.name = draft.name or name_of(draft.model)
    draft.memory = draft.memory or GIB
    known = {name: entry.image for name, entry in ENTRIES.items()}
    return modelfile.parse(draft.name, write.text(draft), file="test", images=known)


def lost(draft: Draft, word: str) -> bool:
    return any(word in line for line in draft.untranslated)


# As the seed writes a service (compose/models-gpt.yml): a list, anchors, secrets with a default.
COMPOSE = """
x-vllm: &vllm
  restart: "no"
  shm_size: 16g
  ulimits: {memlock: -1, stack: 67108864}
  networks: [inside]
  healthcheck: {test: [CMD, curl, -f, http://localhost:8000/health], interval: 30s}
  profiles: [models]
services:
  gateway: {image: nginx:1.27, ports: ["8009:80"]}
  vllm-oss20b:
    <<: *vllm
    image: vllm/vllm-openai:v0.28.0@sha256:0000
    container_name: vllm-oss20b
    environment:
      HF_HOME: /root/.cache/huggingface
      VLLM_API_KEY: ${VLLM_API_KEY:-not-so-secret}
      VLLM_NO_USAGE_STATS: "1"
      VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8: ${OSS20B_FLASHINFER:-1}
    volumes:
      - ../vllm_cache_huggingface:/root/.cache/huggingface
      - ../models:/models
      - ./media:/media:ro
      - /srv/templates:/templates:ro
    devices: ["/dev/infiniband:/dev/infiniband"]
    command:
      - vllm
      - serve
      - openai/gpt-oss-20b
      - --host
      - 0.0.0.0
      - --port
      - "8000"
      - --download-dir
      - /models
      - --served-model-name
      - gpt-oss-20b
      - openai/gpt-oss-20b
      - --enable-auto-tool-choice
      - --tool-call-parser
      - openai
      - --gpu-memory-utilization
      - ${OSS20B_GPU_MEM:-0.70}
      - --max-model-len
      - "131072"
      - --max-num-seqs
      - "4"
      - --swap-space
      - "8"
      - --disable-log-requests
    deploy:
      resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}
"""


def test_a_service_of_the_seed() -> None:
    draft = one(COMPOSE)
    model = made(draft)

    assert (model.name, model.aliases) == ("gpt-oss-20b", ("openai/gpt-oss-20b",))
    assert model.source.model == "openai/gpt-oss-20b"
    assert model.image is not None
    assert model.image.name == "vllm-0.28"
    assert model.args == (
        "--enable-auto-tool-choice", "--tool-call-parser", "openai", "--max-num-seqs", "4",
    )  # fmt: skip
    assert model.memory == int(85.1 * GIB)
    assert model.context == 131072
    assert model.env == {"VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8": "1"}
    assert model.container.mounts == {"/templates": "/srv/templates"}
    assert model.container.devices == ("/dev/infiniband",)
    assert model.container.ulimits == {"memlock": -1, "stack": 67108864}
    assert lost(draft, "--swap-space 8: takes memory beside the lease")
    assert lost(draft, "volume ./media:/media:ro")
    assert len(draft.untranslated) == 2
    assert "not-so-secret" not in write.text(draft)
    assert "VLLM_API_KEY: a secret" in write.text(draft)


def test_variables_come_from_the_environment() -> None:
    draft = one(COMPOSE, OSS20B_GPU_MEM="0.5", OSS20B_FLASHINFER="")

    assert draft.memory == int(60.8 * GIB)
    assert draft.env == {"VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8": "1"}


def test_a_service_that_does_something_before_it_serves() -> None:
    draft = one("""
services:
  glm:
    image: nvcr.io/nvidia/vllm:25.10-py3
    entrypoint: [/bin/bash, -c]
    command: ["pip install transformers && exec vllm serve a/GLM --trust-remote-code"]
    environment: [VLLM_LOGGING_LEVEL=DEBUG]
    cap_add: [SYS_NICE]
""")
    assert made(draft).args == ("--trust-remote-code",)
    assert draft.env == {"VLLM_LOGGING_LEVEL": "DEBUG"}
    assert lost(draft, "commands before it, 'pip install transformers'")
    assert lost(draft, "cap_add")
    assert lost(draft, "image nvcr.io/nvidia/vllm:25.10-py3")


def test_a_pasted_line_with_docker_in_front() -> None:
    draft = one(r"""
$ docker run --rm -it --gpus all --ipc=host --network host --shm-size=16g \
    -e HF_TOKEN=hf_abc -e VLLM_LOGGING_LEVEL=INFO -v ~/.cache/huggingface:/root/.cache/huggingface \
    --ulimit memlock=-1 -p 8000:8000 --cap-add SYS_NICE \
    vllm/vllm-openai:v0.28.0 \
    --model Qwen/Qwen3-8B --gpu_memory_utilization=.3 --max-model-len 32k -tp 1 \
    --override-generation-config '{"temperature": 0.6}' --port 9000
""")
    model = made(draft)

    assert model.source.model == "Qwen/Qwen3-8B"
    assert model.args == ("--override-generation-config", '{"temperature": 0.6}')
    assert (model.context, model.memory) == (32_000, int(36.5 * GIB))
    assert model.env == {"VLLM_LOGGING_LEVEL": "INFO"}
    assert "hf_abc" not in write.text(draft)
    assert draft.untranslated == [
        "docker run --cap-add SYS_NICE: no engine gets rights on the host"
    ]


def test_a_pasted_serve_line() -> None:
    draft = one(
        "VLLM_USE_V1=1 vllm serve org/Some-Model --tensor-parallel-size 2 --api-key sk-1 "
        "--served-model-name some --chat-template chat.jinja --revision 0123 && echo done"
    )
    model = made(draft)

    assert (model.name, model.source.revision) == ("some", "0123")
    assert model.env == {"VLLM_USE_V1": "1"}
    assert model.args == ()
    assert "sk-1" not in write.text(draft)
    assert lost(draft, "--tensor-parallel-size 2: a Spark has one GPU")
    assert lost(draft, "--chat-template chat.jinja")
    assert lost(draft, "commands behind it")


# In the shape of NVIDIA/local-ai-inference-recipes, schema_version 4.
NVIDIA = """
schema_version: 4
title: Some-31B · DGX Spark · vLLM
model: maker/some-31b
hardware: dgx-spark
platform: {os: linux, execution: container}
backend: vllm
backend_version: "0.28.0"
status: experimental
precision: {label: NVFP4}
checkpoint:
  target: https://huggingface.co/maker/Some-31B-NVFP4
  target_label: maker/Some-31B-NVFP4
  draft: https://huggingface.co/maker/Some-31B-assistant
concurrency: 8
topology: {summary: 1x DGX Spark, gpu_count: 1, node_count: 1, tensor_parallel_size: null}
sampling: {temperature: 1.0}
security: Evaluation configuration only.
runtime:
  kind: container
  image: vllm/vllm-openai:v0.28.0
  setup_command: |
    docker run --rm -it \\
      --gpus all \\
      --shm-size=16g \\
      --ulimit stack=67108864 \\
      -e HF_TOKEN=$HF_TOKEN \\
      -v ~/.cache/huggingface:/root/.cache/huggingface \\
      --entrypoint /bin/bash \\
      vllm/vllm-openai:v0.28.0
serve:
  label: Launch
  command: |
    vllm serve maker/Some-31B-NVFP4 \\
      --gpu-memory-utilization 0.80 \\
      --max-model-len 262144 \\
      --host 0.0.0.0 \\
      --reasoning-parser gemma4 \\
      --speculative-config '{"model": "maker/Some-31B-assistant", "num_speculative_tokens": 4}'
  port: 8000
notes: null
"""


def test_an_nvidia_recipe() -> None:
    draft = one(NVIDIA)
    model = made(draft)

    assert model.source.model == "maker/Some-31B-NVFP4"
    assert model.source.drafts == ("maker/Some-31B-assistant",)
    assert model.memory == int(97.3 * GIB)
    assert model.context == 262144
    assert model.capabilities.reasoning
    assert model.args[-1].startswith('{"model": "maker')
    assert model.container.ulimits == {"stack": 67108864}
    assert lost(draft, "sampling: {'temperature': 1.0}")
    assert len(draft.untranslated) == 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("gpu_count: 1", "gpu_count: 2", "topology.gpu_count: 2"),
        ("node_count: 1", "node_count: 4", "topology.node_count: 4"),
    ],
)
def test_an_nvidia_recipe_for_more_than_one(old: str, new: str, says: str) -> None:
    assert lost(one(NVIDIA.replace(old, new)), says)


def test_an_nvidia_recipe_for_another_engine() -> None:
    with pytest.raises(UserError, match="backend: expected vllm, got 'llama-cpp'"):
        one(NVIDIA.replace("backend: vllm", "backend: llama-cpp"))


# In the shape of sparkrun's second version.
SPARKRUN = """
recipe_version: "2"
model: maker/Some-27B-FP8
runtime: vllm
max_nodes: 1
container: ghcr.io/someone/vllm:latest
metadata: {description: "Some-27B: native FP8"}
mods: [mods/fix-template]
defaults:
  port: 8000
  host: 0.0.0.0
  tensor_parallel: 1
  gpu_memory_utilization: 0.95
  max_model_len: 65536
  kv_cache_dtype: fp8
  speculative_config: '{"method": "dflash", "model": "lab/Draft", "num_speculative_tokens": 15}'
env:
  VLLM_MARLIN_USE_ATOMIC_ADD: "1"
  VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS: "0"
command: |
  vllm serve {model} \\
    --host {host} --port {port} \\
    --max-model-len {max_model_len} \\
    --gpu-memory-utilization {gpu_memory_utilization} \\
    --kv-cache-dtype {kv_cache_dtype} \\
    --speculative-config '{speculative_config}' \\
    -tp {tensor_parallel}
"""


def test_a_sparkrun_recipe() -> None:
    draft = one(SPARKRUN)
    model = made(draft)

    assert model.source.model == "maker/Some-27B-FP8"
    assert model.source.drafts == ("lab/Draft",)
    assert model.summary == "Some-27B: native FP8"
    # 0.95 would be 115.6 GiB, and leave the host too little.
    assert model.memory == SPARK_MOST
    assert model.args[:2] == ("--kv-cache-dtype", "fp8")
    assert model.env == {"VLLM_MARLIN_USE_ATOMIC_ADD": "1"}
    assert lost(draft, "mod mods/fix-template")
    assert lost(draft, "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0")


# In the shape of spark-vllm-docker's first version: braces are doubled where they are meant.
EUGR = """
recipe_version: "1"
name: Some-35B
description: vLLM serving Some-35B-FP8
model: maker/Some-35B-FP8
container: vllm-node
build_args: [--exp-mxfp4]
mods: [mods/fix-template]
defaults: {port: 8000, host: 0.0.0.0, tensor_parallel: 2, gpu_memory_utilization: 0.8}
env: {VLLM_MARLIN_USE_ATOMIC_ADD: 1}
command: |
  vllm serve maker/Some-35B-FP8 \\
    --host {host} --port {port} \\
    --gpu-memory-utilization {gpu_memory_utilization} \\
    --enable-auto-tool-choice --tool-call-parser qwen3_xml \\
    --speculative-config '{{"method": "mtp", "num_speculative_tokens": 2}}' \\
    --max-model-len {nobody_says} \\
    -tp {tensor_parallel} --distributed-executor-backend ray
"""


def test_a_recipe_of_spark_vllm_docker() -> None:
    draft = one(EUGR)
    model = made(draft)

    assert model.name == "some-35b-fp8"
    assert model.args[-1] == '{"method": "mtp", "num_speculative_tokens": 2}'
    assert model.env == {"VLLM_MARLIN_USE_ATOMIC_ADD": "1"}
    for what in ("-tp 2", "ray", "--exp-mxfp4", "mods/fix-template", "{nobody_says}", "vllm-node"):
        assert lost(draft, what), what


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected 'vllm serve'"),
        ("echo hello", "expected 'vllm serve'"),
        ("vllm serve 'a", "No closing quotation"),
        ("services: {db: {image: postgres}}", "no service of it runs"),
        ("recipe_version: '9'\ncommand: x", "recipe_version: expected 1 or 2, got '9'"),
        ("recipe_version: '2'\nruntime: sglang", "runtime: expected vllm, got 'sglang'"),
        ("services: [\n", "expected YAML"),
        ("x" * (1 << 20) + "x", "expected at most"),
    ],
)
def test_what_is_nothing_of_the_kind_is_said(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        one(text)


@pytest.mark.parametrize(
    ("share", "says"), [("0", "expected a share"), ("1.5", "expected a share"), ("x", "expected")]
)
def test_a_share_that_is_none(share: str, says: str) -> None:
    draft = one(f"vllm serve a/b --gpu-memory-utilization {share}")

    assert draft.memory is None
    assert lost(draft, says)


def test_a_hash_in_an_argument_and_hostile_text_stay_what_they_are() -> None:
    draft = one("vllm serve a/b --override-x 'a #b' --served-model-name b '../x y'")
    draft.summary = "two\nlines: \x1b[31mred"

    model = made(draft)

    assert model.args == ("--override-x", "a #b")
    assert model.summary == "two lines: [31mred"
    assert lost(draft, "no client may use such a name")


def test_an_image_is_taken_by_its_reference_or_is_the_newest_release() -> None:
    same = Draft(reference="vllm/vllm-openai:v0.9.0@sha256:1")
    other = Draft()
    images.choose(same, ENTRIES)
    images.choose(other, ENTRIES)

    assert (same.image, other.image) == ("vllm-0.9", "vllm-0.28")
    assert not same.untranslated
    # Under one name there may be two images.
    assert same.comments["image"] == ["The source has sha256:1, images.yaml no digest."]
    with pytest.raises(LookupError):
        images.choose(Draft(), {})


def test_guessed_parsers_are_in_the_registries_of_vllm() -> None:
    for family, pair in parsers.PARSERS.items():
        assert pair.tools in ("", *REGISTRIES["--tool-call-parser"]), family
        assert pair.reasoning in ("", *REGISTRIES["--reasoning-parser"]), family


@pytest.mark.parametrize(
    ("kind", "name", "tools", "reasoning"),
    [
        ("gpt_oss", "openai/gpt-oss-20b", "openai", "openai_gptoss"),
        ("qwen3_moe", "Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_coder", ""),
        ("qwen3_moe", "Qwen/Qwen3-30B-A3B-Instruct-2507", "hermes", ""),
        ("qwen3_moe", "Qwen/Qwen3-30B-A3B-Thinking-2507", "hermes", "qwen3"),
        ("qwen3_next", "Qwen/Qwen3-Next-80B-A3B-Thinking", "hermes", "qwen3"),
        # What never thinks would have all that it says taken for thoughts.
        ("qwen3_vl_moe", "Qwen/Qwen3-VL-30B-A3B-Instruct", "hermes", ""),
        ("qwen3_vl", "Qwen/Qwen3-VL-8B-Thinking", "hermes", "qwen3"),
        ("kimi_linear", "moonshotai/Kimi-Linear-48B-A3B-Instruct", "kimi_k2", ""),
        ("kimi_k2", "moonshotai/Kimi-K2-Thinking", "kimi_k2", "kimi_k2"),
        ("olmo3", "allenai/Olmo-3-7B-Instruct", "olmo3", ""),
        ("qwen2", "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "hermes", "deepseek_r1"),
        ("glm4_moe_lite", "zai-org/GLM-4.7-Flash", "glm47", "glm45"),
        ("gemma3", "google/gemma-3-27b-it", "", ""),
    ],
)
def test_parsers_by_family_and_name(kind: str, name: str, tools: str, reasoning: str) -> None:
    assert parsers.guess({"model_type": kind}, name) == parsers.Parsers(tools, reasoning)


def test_nothing_is_guessed_of_an_unknown_family() -> None:
    assert parsers.guess({"model_type": "brandnew"}, "a/b") is None
    assert parsers.guess({}, "a/b") is None

"""Recipes and compose files in the shapes that they really have: nothing is lost unsaid."""

from __future__ import annotations

import pytest

from spark_activator.errors import UserError
from spark_activator.imports import read, write
from spark_activator.imports.draft import Draft


def one(text: str, **environment: str) -> Draft:
    [draft] = read.drafts(text, origin="test", environment=environment)
    return draft


def lost(draft: Draft, word: str) -> bool:
    return any(word in line for line in draft.untranslated)


# In the shape of NVIDIA's recipes for one Spark with an image of others: directories are made
# and variables exported before, each on a line of its own.
NVIDIA = """
schema_version: 4
title: Some-Flash · DGX Spark · vLLM
model: maker/some-flash
hardware: dgx-spark
platform: {os: linux, execution: container}
backend: vllm
min_vidmem_gb: 128
status: experimental
prerequisites: null
limitations:
  - It needs that image.
precision: {label: NVFP4}
checkpoint: {target: https://huggingface.co/maker/Some-Flash-NVFP4, draft: null}
spec_dec: mtp
concurrency: 8
topology: {summary: 1x DGX Spark, gpu_count: 1, node_count: 1, tensor_parallel_size: 1}
runtime:
  kind: container
  image: someone/vllm:latest
  image_url: https://hub.example/someone
  setup_instructions: Set `HF_TOKEN` in the host environment.
  setup_command: |
    mkdir -p $HOME/.cache/huggingface $HOME/.triton

    docker run --rm -it \\
      --gpus all \\
      --security-opt seccomp=unconfined \\
      -e HF_TOKEN=$HF_TOKEN \\
      -v $HOME/.triton:/root/.triton \\
      --entrypoint /bin/bash \\
      someone/vllm:latest
serve:
  command: |
    export VLLM_A="disk"
    export VLLM_B="1"

    vllm serve maker/Some-Flash-NVFP4 \\
      --tensor-parallel-size 1 \\
      --mamba_ssm_cache_dtype float32 \\
      --max-model-len 262144 \\
      --speculative_config.method mtp \\
      --speculative_config.model maker/Draft \\
      --gpu-memory-utilization 0.8
  port: 8000
  api_model: maker/Some-Flash-NVFP4
notes: null
"""


def test_an_nvidia_recipe_with_exports_and_an_image_of_its_own() -> None:
    draft = one(NVIDIA)

    assert draft.env == {"VLLM_A": "disk", "VLLM_B": "1"}
    assert (draft.model, draft.context) == ("maker/Some-Flash-NVFP4", 262144)
    assert draft.args[0] == ["--mamba_ssm_cache_dtype", "float32"]
    assert draft.drafts == ["maker/Draft"]
    for what in (
        "limitations: ['It needs that image.']",
        "setup_instructions: Set `HF_TOKEN`",
        "--security-opt seccomp=unconfined",
        "mkdir -p $HOME/.cache/huggingface",
        "volume $HOME/.triton:/root/.triton",
    ):
        assert lost(draft, what), what
    assert len(draft.untranslated) == 5
    assert not lost(draft, "export")


def test_a_recipe_that_names_two_images_says_so() -> None:
    draft = one(NVIDIA.replace("image: someone/vllm:latest", "image: someone/vllm:2"))

    assert draft.reference == "someone/vllm:2"
    assert lost(draft, "setup_command starts someone/vllm:latest")


MINIMAL = """
model: maker/Some-8B
runtime: vllm-distributed
container: someone/vllm:latest
model_revision: 0123abc
defaults:
  port: 8000
  tensor_parallel: 1
  gpu_memory_utilization: 0.3
  max_model_len: 32768
  enforce_eager: true
  enable_prefix_caching: false
  speculative_config: {method: mtp, num_speculative_tokens: 2}
  limit_mm_per_prompt: null
  served_model_name: some
"""


def test_a_recipe_of_sparkrun_without_version_and_command() -> None:
    draft = one(MINIMAL)

    assert (draft.model, draft.revision, draft.name) == ("maker/Some-8B", "0123abc", "some")
    assert (draft.context, draft.memory is not None) == (32768, True)
    assert draft.args == [
        ["--enforce-eager"],
        ["--no-enable-prefix-caching"],
        ["--speculative-config", '{"method": "mtp", "num_speculative_tokens": 2}'],
    ]
    assert draft.untranslated == []


def test_defaults_that_the_command_does_not_use_are_said() -> None:
    draft = one(
        "recipe_version: '2'\nmodel: a/b\nruntime: vllm\npre_exec: [x]\n"
        "defaults: {tensor_parallel: 1, kv_cache_dtype: fp8, served_model_name: me}\n"
        "command: vllm serve {model}\n"
    )

    assert draft.name == "me"
    assert draft.untranslated == [
        "default kv_cache_dtype: fp8: is not in the command",
        "pre_exec: is not understood",
    ]


@pytest.mark.parametrize("runtime", ["sglang", "llama-cpp", "trtllm", "atlas"])
def test_a_recipe_for_another_engine_is_refused(runtime: str) -> None:
    with pytest.raises(UserError, match=f"runtime: expected vllm, got '{runtime}'"):
        one(f"model: a/b\nruntime: {runtime}\ncontainer: x\n")


COMPOSE = """
services:
  web: {image: nginx:1.27}
  a:
    image: vllm/vllm-openai:v0.28.0
    command: >
      --model ${MODEL:-${OTHER:-a/b}}
      --served-model-name "a"
    environment:
      - HF_TOKEN
      - A
      - B=${B:-x}
    env_file: [secrets.env]
    volumes:
      - {type: bind, source: /srv/x, target: /y, read_only: true}
    devices: [nvidia.com/gpu=all, /dev/nvidia0, /dev/sda]
    privileged: true
    ulimits: {memlock: {soft: -1, hard: -1}}
    ports: ["8000:8000"]
  b:
    image: vllm/vllm-openai:v0.28.0
    entrypoint: [/bin/bash, -c]
    command:
      - |
        export FOO=bar
        pip install x
        exec vllm serve c/d \\
          --max-model-len 4096
  c:
    image: other
    command: |
      vllm serve e/f \\
        --seed 1
        --enforce-eager
  d: {image: "lmsysorg/sglang:1", command: python3 -m sglang.launch_server --model-path x/y}
  e: {image: vllm, command: "vllm serve 'a"}
"""


def test_services_in_the_ways_in_which_they_are_written() -> None:
    a, b, c = read.drafts(COMPOSE, origin="test", environment={"OTHER": "g/h"})

    assert (a.model, a.name, a.mounts, a.devices) == ("g/h", "a", {"/y": "/srv/x"}, [])
    assert (a.env, a.ulimits) == ({"B": "x"}, {"memlock": -1})
    for what in (
        "A: its value comes from whoever starts it",
        "env_file: its variables are not read",
        "device /dev/sda",
        "privileged: no engine gets rights on the host",
        # Services that serve models, but are not read, are said once.
        "service d: expected 'vllm serve', there is none",
        "service e: its command line: No closing quotation",
    ):
        assert lost(a, what), what
    assert len(a.untranslated) == 6
    assert "ports: the runner decides that" in a.computed
    assert (b.model, b.env, b.context) == ("c/d", {"FOO": "bar"}, 4096)
    assert b.untranslated == ["commands before it, 'pip install x': build an image with them"]
    assert (c.model, c.args) == ("e/f", [["--seed", "1"], ["--enforce-eager"]])
    assert "HF_TOKEN" in write.text(a)

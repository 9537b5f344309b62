"""What Docker is asked for, whole, as golden files: `UPDATE_GOLDEN=1` writes them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from spark_activator.catalog.host import Gpu
from spark_activator.catalog.model import (
    ContainerOptions,
    Engine,
    Image,
    Model,
    Network,
    Source,
    Timeouts,
)
from spark_activator.errors import EngineFailed
from spark_activator.runner.spec import ImageFacts, Machine, command, container

GOLDEN = Path(__file__).parents[2] / "golden" / "containers"
GIB = 1 << 30
MACHINE = Machine(
    run="/run/spark-activator",
    upstream="/run/spark-activator/upstream/gpt-oss-20b/0a1b2c3d",
    group=987,
    cache="/var/lib/spark-activator/cache/d1",
    files="/var/lib/spark-activator/files",
    memory=128 * GIB,
    hub="/srv/hub",
    journald=True,
)
VLLM = Model(
    name="gpt-oss-20b",
    port=18110,
    engine=Engine.VLLM,
    source=Source("openai/gpt-oss-20b", "main"),
    memory=32 * GIB,
    aliases=("gpt-oss",),
    presets={"gpt-oss-20b-precise": {"temperature": 0}},
    image=Image("vllm-0.28", "vllm/vllm-openai:v0.28.0", "sha256:" + "ab" * 32),
    args=("--kv-cache-dtype", "fp8"),
    env={"VLLM_NO_USAGE_STATS": "0", "A": "b=c"},
    context=131072,
    container=ContainerOptions(
        mounts={"/opt/parsers": "/srv/parsers"},
        files={"/a.jinja": "c0ffee", "/b.jinja": "/srv/b.jinja"},
        devices=("/dev/infiniband",),
        ulimits={"memlock": -1},
        shm=10 * GIB,
    ),
)
DEMO = Model(
    name="demo-story",
    port=18101,
    engine=Engine.CONTAINER,
    source=Source("demo/story"),
    memory=64 << 20,
    image=Image("spark-demo", "spark-demo:latest", cpu=True),
    args=("--socket", "{socket}"),
    network=Network.OUTBOUND,
)
SGLANG = Model(
    name="qwen3.5-0.8b",
    port=18111,
    engine=Engine.SGLANG,
    source=Source("Qwen/Qwen3.5-0.8B", "main"),
    memory=8 * GIB,
    aliases=("qwen-small",),
    image=Image("sglang-0.5.9", "scitrera/dgx-spark-sglang:0.5.9-t5", "sha256:" + "ab" * 32),
    args=("--attention-backend", "triton"),
    context=32768,
)
NODES = ("/dev/nvidia0", "/dev/nvidiactl")
CASES = {
    "vllm-cdi": (VLLM, replace(MACHINE, gpu=Gpu.CDI)),
    "vllm-runtime": (VLLM, replace(MACHINE, gpu=Gpu.RUNTIME, nodes=NODES)),
    "vllm-cpu": (
        replace(VLLM, image=Image("vllm-cpu", "vllm-cpu:latest", cpu=True)),
        replace(MACHINE, gpu=Gpu.RUNTIME, nodes=NODES, journald=False),
    ),
    "sglang": (SGLANG, replace(MACHINE, gpu=Gpu.CDI, bridge="/opt/spark-activator/bridge.py")),
    "demo": (DEMO, replace(MACHINE, hub=None, journald=False)),
}
IMAGE = ImageFacts("sha256:" + "cd" * 32, ("vllm", "serve"))
IMAGES = {Engine.VLLM: IMAGE, Engine.SGLANG: ImageFacts("sha256:" + "cd" * 32)}


@pytest.mark.parametrize("name", CASES)
def test_container_is_the_golden_one(name: str) -> None:
    model, machine = CASES[name]
    image = IMAGES.get(model.engine, ImageFacts("sha256:1", ("python3", "-m", "demo")))
    body = container(model, image, machine, config="c0ffee", activation="0a1b2c3d")
    text = json.dumps(body, indent=2) + "\n"

    file = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize(
    ("entrypoint", "begins"),
    [
        (("vllm", "serve"), ("vllm", "serve", "openai/gpt-oss-20b")),
        ((), ("vllm", "serve", "openai/gpt-oss-20b")),
        (("/opt/entry.sh",), ("/opt/entry.sh", "vllm", "serve", "openai/gpt-oss-20b")),
    ],
)
def test_vllm_is_served_whatever_the_image_starts(
    entrypoint: tuple[str, ...], begins: tuple[str, ...]
) -> None:
    words = command(VLLM, ImageFacts("i", entrypoint), 128 * GIB)
    assert words[: len(begins)] == begins
    # What the lease decides comes last: vLLM takes the last of two.
    assert words[len(begins) :][:2] == ("--kv-cache-dtype", "fp8")


def test_nothing_in_args_undoes_what_the_lease_says() -> None:
    sly = replace(VLLM, args=("--gpu-memory-util=0.99", "--max_model_len", "1", "--uds", "/x"))
    words = command(sly, IMAGE, 128 * GIB)
    for ours, theirs in (
        ("--gpu-memory-utilization", "--gpu-memory-util=0.99"),
        ("--max-model-len", "--max_model_len"),
    ):
        assert words.index(ours) > words.index(theirs)
    assert words[len(words) - 1 - words[::-1].index("--uds") + 1] == "/run/upstream/engine.sock"


def test_lease_is_what_the_engine_may_take_and_never_more() -> None:
    third = replace(VLLM, memory=GIB)
    words = command(third, IMAGE, 3 * GIB)
    assert words[words.index("--gpu-memory-utilization") + 1] == "0.3333"


def test_ready_limit_of_the_engine_follows_the_model() -> None:
    patient = replace(VLLM, timeouts=Timeouts(start=5000))
    body = container(patient, IMAGE, MACHINE, config="c", activation="a")
    assert "VLLM_ENGINE_READY_TIMEOUT_S=5000" in body["Env"]


def test_redirects_of_media_are_off_unless_the_model_file_says_otherwise() -> None:
    def environment(model: Model) -> list[str]:
        body = container(model, IMAGE, MACHINE, config="c", activation="a")
        return [line for line in body["Env"] if line.startswith("VLLM_MEDIA_")]

    owner = {"VLLM_MEDIA_URL_ALLOW_REDIRECTS": "1"}
    assert environment(VLLM) == ["VLLM_MEDIA_URL_ALLOW_REDIRECTS=0"]
    assert environment(replace(VLLM, env=owner)) == ["VLLM_MEDIA_URL_ALLOW_REDIRECTS=1"]


def test_container_without_args_runs_what_its_image_does() -> None:
    bare = replace(DEMO, args=())
    assert command(bare, ImageFacts("i", ("/serve",), ("--all",)), GIB) == ("/serve", "--all")
    with pytest.raises(EngineFailed):
        command(bare, ImageFacts("i"), GIB)

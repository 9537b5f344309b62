"""SGLang's command line: what the lease, the model file and the owner say of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_activator.catalog import lease
from spark_activator.catalog.model import (
    Capabilities,
    ContainerOptions,
    Engine,
    Image,
    Model,
    Source,
)
from spark_activator.runner import sglang

GIB = 1 << 30
MIB = 1 << 20
MODEL = Model(
    name="small",
    port=18300,
    engine=Engine.SGLANG,
    source=Source("a/b"),
    memory=8 * GIB,
    image=Image("sglang", "sglang:1"),
    context=32768,
)


def value(words: tuple[str, ...], flag: str) -> str:
    """The last value of *flag*, which is the one that counts."""
    return words[len(words) - words[::-1].index(flag)]


def test_what_sglang_takes_beside_the_fraction_comes_off_the_lease() -> None:
    # 640 for constant data, 2,048 tokens, 256 requests in graphs, 256 of 32,768 tokens.
    beside = 640 + 3072 + 512 + 32
    assert lease.static_memory(MODEL) == 8 * GIB - beside * MIB
    fraction = value(sglang.arguments(MODEL, 128 * GIB), "--mem-fraction-static")
    assert fraction == "0.0300"
    assert float(fraction) * 128 * GIB + beside * MIB <= MODEL.memory


@pytest.mark.parametrize("total", [96 * GIB, 119_673_769_984, 128 * GIB])
@pytest.mark.parametrize("memory", [5 * GIB, 20 * GIB, 60 * GIB - 1, 90 * GIB])
def test_fraction_never_rounds_above_the_lease(memory: int, total: int) -> None:
    model = replace(MODEL, memory=memory)
    fraction = float(value(sglang.arguments(model, total), "--mem-fraction-static"))
    assert 0 < fraction * total <= lease.static_memory(model)
    assert lease.static_memory(model) <= fraction * total + total / 9_999


@pytest.mark.parametrize(
    ("memory", "tokens"), [(GIB, 2048), (20 * GIB, 4096), (59 * GIB, 4096), (60 * GIB, 8192)]
)
def test_prefill_chunk_is_that_of_a_gpu_as_large_as_the_lease(memory: int, tokens: int) -> None:
    words = sglang.arguments(replace(MODEL, memory=memory), 128 * GIB)
    assert value(words, "--chunked-prefill-size") == str(tokens)


@pytest.mark.parametrize(
    ("args", "more"),
    [
        (("--speculative-algorithm", "EAGLE3"), 2 * GIB),
        (("--speculative-algo=STANDALONE",), 6 * GIB),
        (("--speculative-algorithm", "NGRAM"), 0),
        (("--enable-piecewise-cuda-graph",), 1536 * MIB),
        # Each running request has a row of the context's length, four bytes a token.
        (("--max-running-requests", "1280"), 1024 * 32768 * 4),
        (("--max-running=16",), -240 * 32768 * 4),
    ],
)
def test_arguments_that_need_memory_are_counted(args: tuple[str, ...], more: int) -> None:
    plain, with_args = lease.static_memory(MODEL), lease.static_memory(replace(MODEL, args=args))
    assert plain - with_args == more


def test_a_model_that_sees_keeps_memory_for_images() -> None:
    seeing = replace(MODEL, capabilities=Capabilities(vision=True))
    assert lease.static_memory(seeing) == int(lease.static_memory(MODEL) * 0.76)


def test_nothing_in_args_undoes_what_lease_and_file_say() -> None:
    sly = replace(
        MODEL,
        args=("--mem-fraction-static", "0.9", "--port", "1", "--chunked-prefill-size", "-1"),
    )
    words = sglang.arguments(sly, 128 * GIB)
    assert value(words, "--mem-fraction-static") == "0.0300"
    assert value(words, "--chunked-prefill-size") == "2048"
    assert value(words, "--port") == "30000"


def test_an_image_for_the_cpu_has_no_share_of_the_gpu() -> None:
    words = sglang.arguments(replace(MODEL, image=Image("x", "x", cpu=True)), 128 * GIB)
    assert "--mem-fraction-static" not in words


@pytest.mark.parametrize(
    ("entrypoint", "server"),
    [
        ((), ("python3", "-m", "sglang.launch_server", "--max-running-requests")),
        (("/entry.sh",), ("/entry.sh", "python3", "-m", "sglang.launch_server")),
        (("sglang", "serve"), ("sglang", "serve", "--max-running-requests", "256")),
    ],
)
def test_server_is_started_by_the_bridge_whatever_the_image_starts(
    entrypoint: tuple[str, ...], server: tuple[str, ...]
) -> None:
    words = sglang.command(MODEL, entrypoint, "/s.sock", 128 * GIB)
    assert words[:5] == ("python3", "-I", "/run/spark-bridge.py", "/s.sock", "30000")
    assert words[5:9] == server


def test_entrypoint_of_the_owner_is_taken_as_the_server() -> None:
    own = replace(MODEL, container=ContainerOptions(entrypoint=("/serve",)))
    assert sglang.command(own, ("/serve",), "/s", GIB * 128)[5:7] == (
        "/serve",
        "--max-running-requests",
    )

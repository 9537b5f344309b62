"""Loading: time, memory and a log, in the order and the words of vLLM."""

from __future__ import annotations

import trio

from spark_activator.demo import faults
from spark_activator.demo.log import info, say
from spark_activator.demo.memory import STRIDE, HeldMemory
from spark_activator.demo.settings import Settings

# How many sizes of CUDA graph are "captured".
GRAPHS = 8


async def load(settings: Settings, memory: HeldMemory) -> None:
    """Go through the phases; what was told to fail fails.

    Raises:
        faults.ToldToExit: By `--exit-at-start`.
    """
    info("api_server.py:1", f"Demo engine, serving {', '.join(settings.names)}")
    faults.exit_at("start", settings.faults)
    await _load_weights(settings, memory)
    await _compile(settings)
    await _capture_graphs(settings)


async def _begin(phase: str, settings: Settings) -> None:
    faults.exit_at(phase, settings.faults)
    if settings.faults.stall_phase == phase:
        await trio.sleep_forever()


async def _load_weights(settings: Settings, memory: HeldMemory) -> None:
    label = "Loading safetensors checkpoint shards"
    started, shards, seconds = (
        trio.current_time(),
        settings.shards,
        settings.phase_times["weights"],
    )
    say(f"{label}:   0% Completed | 0/{shards} [00:00<?, ?it/s]")
    await _begin("weights", settings)
    await _hold_steadily(memory, settings.faults.hold_memory, settings.faults.memory_rate)
    for shard in range(1, shards + 1):
        await _hold(memory, settings.faults.hold_memory * shard // shards)
        await trio.sleep_until(started + seconds * shard / shards)
        spent = trio.current_time() - started
        left = spent / shard * (shards - shard)
        say(
            f"{label}: {shard / shards:4.0%} Completed | {shard}/{shards} "
            f"[{_clock(spent)}<{_clock(left)}, {shard / max(spent, 0.001):5.2f}it/s]"
        )
    info("default_loader.py:1", f"Loading weights took {trio.current_time() - started:.2f} seconds")


async def _hold_steadily(memory: HeldMemory, size: int, rate: int) -> None:
    """Take *size* bytes, *rate* a second; 0 leaves it to the shards."""
    began = trio.current_time()
    while rate and memory.size < size:
        await _hold(memory, min(size, memory.size + STRIDE))
        await trio.sleep_until(began + memory.size / rate)


async def _hold(memory: HeldMemory, size: int) -> None:
    # In strides, so that a signal is heard in between.
    while memory.size < size:
        memory.grow(min(size - memory.size, STRIDE))
        await trio.lowlevel.checkpoint()


async def _compile(settings: Settings) -> None:
    seconds = settings.phase_times["compile"]
    info("backends.py:1", f"Dynamo bytecode transform time: {seconds / 4:.2f} s")
    await _begin("compile", settings)
    await trio.sleep(seconds)
    info("monitor.py:1", f"torch.compile takes {seconds:.2f} s in total")


async def _capture_graphs(settings: Settings) -> None:
    label = "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE)"
    started, seconds = trio.current_time(), settings.phase_times["graphs"]
    say(f"{label}:   0%|          | 0/{GRAPHS} [00:00<?, ?it/s]")
    await _begin("graphs", settings)
    for graph in range(1, GRAPHS + 1):
        await trio.sleep_until(started + seconds * graph / GRAPHS)
        bar = "█" * (10 * graph // GRAPHS)
        spent = trio.current_time() - started
        say(
            f"{label}: {graph / GRAPHS:4.0%}|{bar:<10}| {graph}/{GRAPHS} "
            f"[{_clock(spent)}<{_clock(spent / graph * (GRAPHS - graph))}, "
            f"{graph / max(spent, 0.001):5.2f}it/s]"
        )
    info("gpu_model_runner.py:1", f"Graph capturing finished in {seconds:.0f} secs")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"

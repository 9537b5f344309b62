"""Every model of the catalog, and every pair that its page recommends, has room on a Spark.

The gate is the runner's own, over a `/proc` that says what a Spark's says.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from catalog_shipped import SPARK_MEMORY, models
from fake_proc import GIB, FakeProc

from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Model
from spark_activator.render import models_page
from spark_activator.runner.gpu import GpuMemory
from spark_activator.runner.memory import Gauge, budget_of, wait_free
from spark_activator.runner.memory_values import FLOOR

# What a Spark without any model has in use.
IN_USE = 4 * GIB
# No lease is larger than a machine with that in use lets start.
MOST = 109 * GIB

OFFERED = {
    name: model
    for name, model in models().items()
    if models_page.enabled(model) and models_page.on_gpu(model)
}
SIZED = sorted(name for name, model in models().items() if models_page.on_gpu(model))
PAIRS = models_page.pairs([OFFERED[name] for name in sorted(OFFERED)])


class NoGpuOfItsOwn:
    """The driver of a Spark: it knows of no memory beside the host's."""

    def memory(self) -> GpuMemory | None:
        return None

    def processes(self, proc: Path) -> tuple[()]:
        return ()


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc", SPARK_MEMORY)


@pytest.fixture
def gauge(proc: FakeProc) -> Gauge:
    return Gauge(proc.root, HostSettings(), NoGpuOfItsOwn())


@pytest.mark.parametrize("name", sorted(OFFERED))
async def test_it_passes_the_gate_on_an_idle_spark(name: str, proc: FakeProc, gauge: Gauge) -> None:
    proc.available(SPARK_MEMORY - IN_USE)

    assert OFFERED[name].memory <= budget_of(HostSettings(), gauge.read())
    assert await wait_free(gauge, OFFERED[name].memory, on_gpu=True)


async def test_a_larger_one_would_not(proc: FakeProc, gauge: Gauge) -> None:
    proc.available(SPARK_MEMORY - IN_USE)

    assert not gauge.read().host.fits(SPARK_MEMORY - IN_USE - FLOOR + 1)


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda name: name)
async def test_a_recommended_pair_passes_together(
    first: str, second: str, proc: FakeProc, gauge: Gauge
) -> None:
    there, comes = OFFERED[first].memory, OFFERED[second].memory
    proc.available(SPARK_MEMORY - IN_USE - there)

    assert there + comes <= budget_of(HostSettings(), gauge.read())
    assert await wait_free(gauge, comes, on_gpu=True)


def test_some_pairs_are_recommended() -> None:
    assert len(PAIRS) > 3


def test_the_page_reckons_with_the_same_spark() -> None:
    assert (models_page.SPARK, models_page.KEPT, models_page.IN_USE) == (
        SPARK_MEMORY, FLOOR, IN_USE,
    )  # fmt: skip


@pytest.mark.parametrize("name", SIZED)
def test_its_lease_is_what_its_sizing_needs_and_a_spark_has(name: str) -> None:
    model: Model = models()[name]
    assert model.sizing is not None, "say how memory was worked out"
    sizing = model.sizing

    # The three name all of it: no lease is larger than it says why.
    assert sizing.weights + sizing.kv + sizing.overhead == model.memory <= MOST
    assert sizing.origin


@pytest.mark.parametrize("name", SIZED)
def test_its_cache_holds_the_contexts_that_it_claims(name: str) -> None:
    model = models()[name]
    sizing = model.sizing
    if sizing is None or sizing.token is None or model.context is None:
        return

    assert math.ceil(sizing.token * model.context * sizing.sequences) <= sizing.kv

"""What is rendered for one model, as whole files: a change shows as a diff of units."""

from pathlib import Path

import pytest

from spark_activator.catalog.model import Engine, Model, Network, Source, Timeouts
from spark_activator.render.units import drop_in_paths, drop_ins

GOLDEN = Path(__file__).parents[2] / "golden/units"


def model(name: str, **values: object) -> Model:
    given = {"port": 18100, "engine": Engine.VLLM, "source": Source("a/b"), "memory": 1 << 30}
    return Model(name=name, **given | values)


MODELS = [
    model("qwen3.6-35b"),
    model("demo-echo", engine=Engine.PROCESS, port=18101),
    model("fetches", engine=Engine.PROCESS, network=Network.OUTBOUND),
    model("speaks-tcp", engine=Engine.PROCESS, tcp=8000),
    model("patient", port=18299, timeouts=Timeouts(drain=600.0)),
]


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("given", MODELS, ids=lambda given: given.name)
def test_drop_ins_match_golden_tree(given: Model) -> None:
    assert drop_ins(given) == tree(GOLDEN / given.name)


def test_golden_trees_are_all_rendered() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {given.name for given in MODELS}


@pytest.mark.parametrize("given", MODELS, ids=lambda given: given.name)
def test_whatever_is_rendered_is_also_what_is_removed(given: Model) -> None:
    assert set(drop_ins(given)) <= set(drop_in_paths(given.name))


def test_ipv6_address_is_in_brackets() -> None:
    text = drop_ins(model("a"), listen=("::1",))["spark-model@a.socket.d/10-port.conf"]

    assert "ListenStream=[::1]:18100\n" in text


def test_stop_timeouts_leave_room_for_the_drain_in_the_templates_too() -> None:
    # The templates have the sums for the default drain: nothing is rendered for it.
    units = Path(__file__).parents[3] / "units"
    drain = Timeouts().drain

    assert f"TimeoutStopSec={drain + 30:g}s\n" in (units / "spark-model@.service").read_text()
    assert f"TimeoutStopSec={drain + 180:g}s\n" in (units / "spark-runner@.service").read_text()


def test_network_of_an_engine_wins_over_its_fence() -> None:
    # systemd sorts drop-ins of template and instance together, by name alone.
    fence = {path.name for path in (Path(__file__).parents[3] / "units/system").rglob("*.conf")}
    mine = next(path for path in drop_in_paths("a") if "network" in path)

    assert max({Path(mine).name, *fence}) == Path(mine).name

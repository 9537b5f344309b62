from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spark_activator.catalog import clashes
from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.catalog.ports import assign
from spark_activator.catalog.settings import OWNER_PORTS

NAMES = st.sets(st.sampled_from([f"m{n:03}" for n in range(110)]))
PORTS = st.sets(st.sampled_from(OWNER_PORTS))


def test_lowest_free_ports_are_given_in_the_order_of_names() -> None:
    given_ports = assign(["b", "a"], taken=[18300, 18302], remembered={})

    assert given_ports.ports == {"a": 18301, "b": 18303}
    assert given_ports.remembered == {"a": 18301, "b": 18303}


def test_port_stays_also_while_the_model_is_away() -> None:
    away = assign(["b"], taken=[], remembered={"a": 18300, "b": 18301})

    assert away.ports == {"b": 18301}
    assert assign(["a", "b"], taken=[], remembered=away.remembered).ports["a"] == 18300


def test_port_of_an_absent_model_is_the_last_that_is_given_away() -> None:
    taken = set(OWNER_PORTS) - {18300, 18301}

    assert assign(["n"], taken=taken, remembered={"a": 18300}).ports == {"n": 18301}
    assert assign(["n", "o"], taken=taken, remembered={"a": 18300}).remembered == {
        "n": 18301,
        "o": 18300,
    }


def test_remembered_port_that_somebody_now_says_is_given_up() -> None:
    assert assign(["a"], taken=[18300], remembered={"a": 18300}).ports == {"a": 18301}


def test_remembered_nonsense_is_ignored() -> None:
    assert assign(["a"], taken=[], remembered={"a": 80, "b": 0}).remembered == {"a": 18300}


@given(
    NAMES, PORTS, st.dictionaries(st.sampled_from(["m001", "m050", "x"]), st.integers(18290, 18410))
)
def test_every_name_has_a_port_of_its_own_or_is_named(
    names: set[str], taken: set[int], remembered: dict[str, int]
) -> None:
    result = assign(names, taken=taken, remembered=remembered)

    assert set(result.ports) | set(result.without) == names
    assert not set(result.ports) & set(result.without)
    assert len(set(result.ports.values())) == len(result.ports)
    assert set(result.ports.values()) <= set(OWNER_PORTS) - taken
    assert len(set(result.remembered.values())) == len(result.remembered)
    assert not result.without or len(result.ports) + len(taken) == len(OWNER_PORTS)
    # What was decided once is decided for good.
    assert assign(names, taken=taken, remembered=result.remembered) == result


def model(
    name: str, port: int = 0, *, vendor: bool = False, aliases: tuple[str, ...] = ()
) -> Model:
    return Model(name, port, Engine.VLLM, Source("a/b"), 1, vendor=vendor, aliases=aliases)


def resolve(*models: Model) -> tuple[list[str], list[str]]:
    kept, problems = clashes.resolve(
        {model.name: model for model in models}, {model.name: model.name for model in models}
    )
    return list(kept), [str(problem) for problem in problems]


def test_without_clashes_all_are_kept() -> None:
    assert resolve(model("a"), model("b"), model("c", 18100, vendor=True))[1] == []


def test_clashing_ports_disable_the_later_alone() -> None:
    kept, problems = resolve(model("b", 18300), model("a", 18300), model("c", 18301))

    assert kept == ["a", "c"]
    assert problems == ["b: port: 18300 is the port of 'a'"]


def test_the_owners_alias_wins_over_a_name_of_the_catalog() -> None:
    kept, problems = resolve(model("a", 18100, vendor=True), model("z", aliases=("a",)))

    assert kept == ["z"]
    assert problems == ["a: the name 'a' belongs to 'z'"]


def test_the_owners_name_wins_over_an_alias_of_the_catalog() -> None:
    kept, problems = resolve(model("a", 18100, vendor=True, aliases=("z",)), model("z"))

    assert kept == ["z"]
    assert problems == ["a: aliases: the name 'z' belongs to 'z'"]


def test_a_name_wins_over_an_alias_of_its_side() -> None:
    kept, problems = resolve(model("a", aliases=("b",)), model("b"))

    assert kept == ["b"]
    assert problems == ["a: aliases: the name 'b' belongs to 'b'"]


def test_a_preset_is_a_name_too() -> None:
    first, second = model("a", aliases=("x",)), replace(model("b"), presets={"x": {}})

    assert resolve(first, second)[1] == ["b: presets.x: the name 'x' belongs to 'a'"]


def test_what_is_left_out_takes_nothing_along() -> None:
    # b goes because of its port; the alias that it wanted is free for c.
    kept, _ = resolve(
        model("a", 18300), model("b", 18300, aliases=("x",)), model("c", aliases=("x",))
    )

    assert kept == ["a", "c"]

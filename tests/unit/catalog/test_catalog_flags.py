"""Every flag of the catalog is one that vLLM takes.

`tests/catalog/vllm-0.32.0.json` says what the parser of `vllm serve` and its
registries know; `tests/run --vllm` has that vLLM itself parse, and compares the file.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
from catalog_shipped import ROOT, SPARK_MEMORY, image_entries, models

from spark_activator.catalog.model import Engine, Model
from spark_activator.runner.spec import vllm_args

KNOWN = json.loads((ROOT / "tests/catalog/vllm-0.32.0.json").read_text())
# More would mean that the catalog lives off images that nobody but their makers knows.
MOST_UNKNOWN = 15

NAMES = sorted(name for name, model in models().items() if model.engine is Engine.VLLM)


@cache
def options() -> dict[str, dict[str, Any]]:
    return {name: option for option in KNOWN["options"] for name in option["names"]}


def flags(model: Model) -> list[tuple[str, list[str]]]:
    """Take the engine's command line apart: each flag with the words behind it."""
    found: list[tuple[str, list[str]]] = []
    for word in vllm_args(model, SPARK_MEMORY)[1:]:
        # A negative number is a value.
        if re.match(r"--?[A-Za-z]", word):
            flag, _, value = word.partition("=")
            # vLLM's parser takes `--a-b` for `--a_b`, and `--x.y v` for a key of `--x`.
            found.append((flag.replace("_", "-").split(".")[0], [value] if value else []))
        else:
            assert found, f"{model.name}: {word!r} stands before any flag"
            found[-1][1].append(word)
    return found


def unknown_to_vllm(model: Model) -> set[str]:
    return {flag for flag, _ in flags(model) if flag not in options()}


@pytest.mark.parametrize("name", NAMES)
def test_vllm_knows_every_flag_or_its_image_says_where_it_is_documented(name: str) -> None:
    model = models()[name]
    assert model.image is not None

    documented = image_entries()[model.image.name].flags

    assert {flag for flag in unknown_to_vllm(model) if flag not in documented} == set()


def test_few_flags_are_of_one_image_alone() -> None:
    assert len({flag for name in NAMES for flag in unknown_to_vllm(models()[name])}) <= MOST_UNKNOWN


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_has_as_many_values_as_vllm_takes_and_of_its_choices(name: str) -> None:
    for flag, values in flags(models()[name]):
        option = options().get(flag)
        if option is None:
            continue
        most = {"none": 0, "one": 1, "maybe": 1}.get(option["takes"], len(values))
        least = 1 if option["takes"] == "one" else 0
        assert least <= len(values) <= most, f"{flag} {values}"
        assert not option["choices"] or set(values) <= set(option["choices"]), f"{flag} {values}"


@pytest.mark.parametrize("name", NAMES)
def test_parsers_and_quantizations_are_names_that_vllm_has(name: str) -> None:
    model = models()[name]
    plugged = any(flag.endswith("-parser-plugin") for flag, _ in flags(model))

    for flag, values in flags(model):
        if flag in KNOWN["registries"] and not plugged:
            assert set(values) <= set(KNOWN["registries"][flag]), flag

"""The parts of a migration that no tree shows: variables, command lines, host.yaml."""

import json
from pathlib import Path

import pytest

import spark_activator.migration
from spark_activator.catalog import hostfile
from spark_activator.imports import variables
from spark_activator.migration import engines, hubs

SEED = Path(spark_activator.migration.__file__).with_name("seed.json")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", "a"),
        ("${A}", "1"),
        ("$A-$A", "1-1"),
        ("${B:-x}", "x"),
        ("${E:-x}", "x"),
        ("${E-x}", ""),
        ("${B:-${C:-${A}}}y", "1y"),
        ("${A:+x}${B:+x}", "x"),
        ("${B:?say it}", ""),
        ("$$A $", "$A $"),
        ("${", "${"),
        ("${A:-${B}", "${A:-"),
        ("${B:-$${A}}", "${A}"),
        ("a}${A}}", "a}1}"),
        ("${1}", ""),
    ],
)
def test_variables_are_put_in_as_compose_does(text: str, value: str) -> None:
    assert variables.substitute(text, {"A": "1", "E": ""}) == value


def test_dotenv_has_quotes_comments_and_the_last_line_wins() -> None:
    text = "A=1\n# B=2\nexport C = 'x # y' # z\nD=\"q\"\nE=v # w\nF=a#b\nA=2\nG=\nno line\n"

    assert variables.dotenv(text) == {
        "A": "2",
        "C": "x # y",
        "D": "q",
        "E": "v",
        "F": "a#b",
        "G": "",
    }


@pytest.mark.parametrize(
    ("words", "engine", "model", "flags"),
    [
        ("vllm serve a/b --x 1 -O3", "vllm", "a/b", {"--x": ("1",), "-O3": ()}),
        ("serve --model a/b --max_num_seqs=2", "vllm", "a/b", {"--max-num-seqs": ("2",)}),
        (
            "/bin/bash run.sh vllm serve a/b --n -1 --l x y --l z",
            "vllm",
            "a/b",
            {"--n": ("-1",), "--l": ("z",)},
        ),
        (
            "python3 -m sglang.launch_server --model-path a/b --tp 1",
            "sglang",
            "a/b",
            {"--tp": ("1",)},
        ),
    ],
)
def test_engines_are_found_in_command_lines(
    words: str, engine: str, model: str, flags: dict[str, tuple[str, ...]]
) -> None:
    assert engines.read(words.split()) == engines.CommandLine(engine, model, flags)


@pytest.mark.parametrize("words", ["", "nginx -g x", "vllm bench", "vllm serve --x"])
def test_other_command_lines_are_none(words: str) -> None:
    assert engines.read(words.split()) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Nothing.\n",
        "floor: 4GiB",
        "hub_caches: []\n",
        "hub_caches: [/a]   # mine\nfloor: 4GiB\n",
        "hub_caches:\n  - /a\nfloor: 4GiB\n",
        "hub_caches:\n- /a  # first\n# between\n- /c\n\n# of the floor\nfloor: 4GiB\n",
        "hub_caches:   # all of them\n\n    - /a\n",
        "hub_caches:\n  - /a",
    ],
)
def test_caches_come_into_host_yaml_and_all_else_stays(text: str) -> None:
    new = hubs.with_caches(text, ["/a", "/b c"], "host.yaml")

    assert new is not None
    before, after = hostfile.parse(text, "x"), hostfile.parse(new, "x")
    assert set(after.hub_caches) == {*before.hub_caches, "/a", "/b c"}
    assert after.floor == before.floor
    comments = [line for line in text.splitlines() if "#" in line]
    kept = [line.partition("#")[2] for line in new.splitlines()]
    assert all(line.partition("#")[2] in kept for line in comments)
    # Again changes nothing.
    assert hubs.with_caches(new, ["/a", "/b c"], "host.yaml") == new


@pytest.mark.parametrize("text", ['{"floor": "4GiB"}\n', "hub_caches: null\n"])
def test_what_only_its_owner_can_change_is_left_to_him(text: str) -> None:
    assert hubs.with_caches(text, ["/a"], "host.yaml") is None


def test_facts_of_the_seed_are_readable() -> None:
    seed = json.loads(SEED.read_text())

    # All that are in models.json have a service.
    assert set(seed["models"]) <= set(seed["services"])
    assert (len(seed["models"]), len(seed["services"])) == (34, 42)
    for variants in seed["services"].values():
        for variant in variants:
            assert engines.read(variant["argv"]) is not None

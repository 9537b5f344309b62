"""Texts that nobody means well: each gives drafts or a sentence, and never a traceback."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from search import SEARCH

from spark_activator.catalog import modelfile
from spark_activator.catalog.model import Image
from spark_activator.errors import FileProblems, Problem, UserError
from spark_activator.imports import read, write
from spark_activator.imports.draft import GIB, Draft

DIGITS = "9" * 400


def tried(text: str) -> list[Draft]:
    """Read *text*, and write what comes of it; whatever is wrong is said in our words."""
    try:
        found = read.drafts(text, origin="test")
    except UserError:
        return []
    for draft in found:
        draft.name, draft.image, draft.memory = draft.name or "x", "a", draft.memory or GIB
        # It is YAML in any case: nothing in it breaks out of its line.
        assert all(problem.key for problem in problems(draft)), write.text(draft)
    return found


def problems(draft: Draft) -> Sequence[Problem]:
    """What `spark-model check` would say of its file; without a key: it is no YAML."""
    try:
        modelfile.parse(draft.name, write.text(draft), file="x", images={"a": Image("a", "a")})
    except FileProblems as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    "text",
    [
        f"vllm serve a/b --max-model-len {DIGITS}",
        f"vllm serve a/b --gpu-memory-utilization {DIGITS}",
        "vllm serve ''",
        "services: {a: {command: \"vllm serve 'a\"}}",
        "services: {a: {image: x, 1: 2, command: vllm serve a}}",
        "services: {a: {command: vllm serve a, ulimits: {a: {}}, volumes: 5, devices: x}}",
        "services: {a: {command: [vllm, serve, a, null, true, 1.5, [x], {y: z}]}}",
        "services: {1: {command: vllm serve a, environment: {2: 3, '': x, b: null}}}",
        "services: {a: {command: vllm serve a, environment: [5, null, [x]]}}",
        "services: &a {a: *a}",
        "services: {a: {command: vllm serve a, environment: &e {x: *e}}}",
        "recipe_version: 2\ncommand: vllm serve a\nmods: 5\nbuild_args: x\nenv: {1: 2}",
        "recipe_version: 2\ncommand: vllm serve a\n1: 2\nz: 3\ndefaults: {3: 4, x: [1]}",
        "recipe_version: 2\ncommand: 'vllm serve {a.b} {model} {{x}} {'\ndefaults: 7",
        "recipe_version: 1\ncommand: 5",
        "schema_version: 4\nbackend: vllm\nserve: 5",
        "schema_version: 4\nbackend: vllm\nserve: {command: vllm serve a, 1: 2}\nruntime: [1]",
        "schema_version: 4\nbackend: vllm\nserve: {command: vllm serve a}\nruntime:\n"
        "  setup_command: \"docker run 'x\"\ncheckpoint: {target: [1], draft: 5}\n1: 2",
        "model: a\nruntime: {x: y}",
        "model: [a]\nruntime: vllm\ndefaults: {x: {y: z}}",
        "? [a]\n: b\nservices: {}",
        "recipe_version: 2\ncommand: vllm serve {x}\ndefaults: {x: {2024-01-01: y}}",
        "model: a\nruntime: vllm\ndefaults: {x: {2024-01-01: [{2024-01-01: y}]}}",
        f"recipe_version: 2\ncommand: vllm serve {{x}}\ndefaults: {{x: 0x{'f' * 5000}}}",
        f"recipe_version: 2\ncommand: vllm serve a\ndefaults: {{0x{'f' * 5000}: x}}",
        f"services: {{a: {{command: vllm serve a, shm_size: 0x{'f' * 5000}}}}}",
        "!!python/object:os.system vllm",
        "a: &a [*a]",
        "\x00vllm serve a",
        '{"services": {"a": {"command": "vllm serve a", "environment": {"A": "\\ud87a\\udfe1"}}}}',
        '{"services": {"a": {"command": "vllm serve a", "environment": {"A": "\\ud87a"}}}}',
        "vllm serve a --x \x1b[31m --y \x85 --z \u2028",
    ],
)  # fmt: skip
def test_no_text_is_a_traceback(text: str) -> None:
    tried(text)


def test_anchors_do_not_make_a_short_text_long() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    text = "\n".join([*lines, "services: {a: {command: *a9}}"])

    with pytest.raises(UserError, match="anchors"):
        read.drafts(text, origin="test")


LONG = {
    "variables that are not closed": "${A:-" * 15_000,
    "substitutions that are not closed": "$(" * 20_000,
    "flags": "-a " * 9_000,
    "half a secret": "token-" * 8_000,
    "shells": "bash -c " * 4_000,
}


@pytest.mark.parametrize("what", LONG)
def test_a_long_text_is_read_in_time(what: str) -> None:
    # Variables took minutes, since their time grew with the square.
    text = f'services: {{a: {{command: "vllm serve a {LONG[what]}"}}}}'
    before = time.process_time()

    read.drafts(text, origin="test")
    read.drafts(f"vllm serve a {LONG[what]}", origin="test")

    assert time.process_time() - before < 8


def test_more_words_than_anybody_types_are_refused() -> None:
    with pytest.raises(UserError, match="expected at most 10000 words"):
        read.drafts("vllm serve a " + "-a " * 10_000, origin="test")


PIECES = (
    "vllm serve a/b --max-model-len --gpu-memory-utilization 0.5 -tp 2 --x=y docker run -v -e "
    "--served-model-name --env --mount -p A=B /a:/b vllm/vllm-openai:v1 bash -c export sudo && ; | "
    "& \\ \n # $ > ' \" $( ) ` ${A:-b} $A {{ }} {x} '{\"a\":1}' --speculative-config"
)
WORDS = st.lists(st.sampled_from(PIECES.split(" ")), max_size=25).map(" ".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = (
    "command entrypoint image environment volumes devices ulimits shm_size container_name model "
    "container defaults env mods build_args min_nodes cluster_only metadata runtime serve backend "
    "checkpoint topology sampling notes schema_version recipe_version"
)
KEYS = st.sampled_from(NAMES.split())
MAPS = st.dictionaries(KEYS, VALUES, max_size=8)


@SEARCH
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    tried(text)


@SEARCH
@given(WORDS)
def test_any_command_line_is_read_or_refused(text: str) -> None:
    tried(f"vllm serve a/b {text}")
    tried(text)


@SEARCH
@given(MAPS, st.sampled_from(["nvidia", "sparkrun", "eugr", "compose"]), WORDS)
def test_any_document_is_read_or_refused(document: dict[str, object], kind: str, line: str) -> None:
    command = {"command": f"vllm serve a/b {line}"}
    whole: dict[str, object] = {
        "nvidia": {**document, "schema_version": 4, "backend": "vllm", "serve": command},
        "sparkrun": {**command, **document, "recipe_version": "2", "runtime": "vllm"},
        "eugr": {**command, **document, "recipe_version": "1"},
        "compose": {"services": {"a": {**command, **document}}},
    }[kind]  # type: ignore[assignment]  # mypy joins the four to `object`
    tried(json.dumps(whole, default=str))
    tried(yaml.safe_dump(whole))

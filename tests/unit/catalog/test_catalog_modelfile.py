"""What a good file comes to, and what is wrong with one beyond its schema."""

from __future__ import annotations

from typing import Any

import pytest

from spark_activator.catalog import document, modelfile
from spark_activator.catalog.model import Engine, Image, Keep, Lifecycle, Model, StatusKind
from spark_activator.errors import FileProblems

IMAGES = {"demo": Image("demo", "demo:latest", cpu=True)}
BASE = """
port: 18100
source: {model: a/b, revision: main}
memory: 24GiB
image: demo
aliases: [based]
presets: {precise: {temperature: 0}}
args: [--a, --b]
env: {A: '1', B: '2'}
timeouts: {idle: 1h, drain: 1min}
status: {disabled: too slow}
"""


def parse(text: str, name: str = "mine", **more: Any) -> Model:
    bases = {"base": document.parse(BASE, "base.yaml")}
    return modelfile.parse(name, text, file="mine.yaml", images=IMAGES, bases=bases, **more)


def problems_of(text: str, name: str = "mine", **more: Any) -> list[str]:
    with pytest.raises(FileProblems) as caught:
        parse(text, name, **more)
    return [str(problem) for problem in caught.value.problems]


def test_defaults_are_those_of_the_model() -> None:
    model = parse("{source: {model: a/b}, memory: 24GiB, image: demo}")

    image = IMAGES["demo"]
    assert model == Model("mine", 0, Engine.VLLM, model.source, 24 << 30, image=image)
    assert model.timeouts.idle == 20 * 60
    assert model.keep is Keep.IDLE
    assert model.probe


def test_values_arrive_converted() -> None:
    model = parse("""
        source: {model: a/b, from: a blog}
        memory: 1.5GiB
        image: demo
        args: |
          --a "b c" \\
          --d '{"e": 1}'
        container: {shm: 64MiB, entrypoint: python3 -m x, devices: [/dev/a]}
        timeouts: {idle: 1h 30min}
        readiness: {generate: false}
        priority: 5.0
    """)

    assert model.source.origin == "a blog"
    assert model.memory == 3 << 29
    assert model.args == ("--a", "b c", "--d", '{"e": 1}')
    assert model.container.shm == 64 << 20
    assert model.container.entrypoint == ("python3", "-m", "x")
    assert model.timeouts.idle == 5400
    assert not model.probe
    assert type(model.priority) is int


def test_a_continued_line_is_continued_also_with_blanks_behind_it() -> None:
    model = parse(
        "{source: {model: a/b}, memory: 1GiB, image: demo,"
        ' args: "--a\\\\  \\n--b\\\\\\n c \\\\\\\\ d"}'
    )

    # The second is the shell's own rule; two backslashes are one that is meant.
    assert model.args == ("--a", "--b", "c", "\\", "d")


def test_utility_stays_unless_it_says_otherwise() -> None:
    text = "{source: {model: a/b}, memory: 1GiB, image: demo, lifecycle: utility%s}"

    assert parse(text % "").keep is Keep.ALWAYS
    assert parse(text % ", keep: idle").keep is Keep.IDLE
    assert parse(text % "").lifecycle is Lifecycle.UTILITY


def test_extends_changes_single_keys() -> None:
    model = parse(
        "{extends: base, memory: 20GiB, env: {A: null, C: '3'}, timeouts: {idle: null},"
        " args: [--c], status: {validated: today}}",
        name="base",
    )

    assert model.memory == 20 << 30
    assert model.env == {"B": "2", "C": "3"}
    assert (model.timeouts.idle, model.timeouts.drain) == (20 * 60, 60)
    assert model.args == ("--c",)
    assert model.status.kind is StatusKind.VALIDATED
    assert model.source.revision == "main"
    assert not model.vendor


def test_extends_under_its_own_name_keeps_port_and_names() -> None:
    model = parse("extends: base", name="base")

    assert (model.port, model.names) == (18100, ("base", "based", "precise"))


def test_extends_under_another_name_leaves_port_and_names_behind() -> None:
    model = parse("extends: base")

    assert (model.port, model.names) == (0, ("mine",))
    assert model.memory == 24 << 30


def test_a_port_can_be_given_back() -> None:
    assert parse("{extends: base, port: null}", name="base").port == 0
    assert parse("{extends: base, port: 18333}", name="base").port == 18333


def test_every_problem_is_reported() -> None:
    assert problems_of("{memory: 24, sourc: 1, image: none, timeouts: {idle: 5, x: 1}}") == [
        "mine.yaml: image: expected an image of images.yaml (demo), got 'none'",
        "mine.yaml: memory: expected a size such as '24GiB', got 24",
        "mine.yaml: sourc: unknown key, did you mean 'source'?",
        "mine.yaml: source: required, but not there",
        "mine.yaml: timeouts.idle: expected a duration such as '20min', got 5",
        "mine.yaml: timeouts.x: unknown key, expected one of idle, stall, start, drain",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image: none", "image: expected an image of images.yaml (demo), got 'none'"),
        ("{extends: nobody, image: demo}", "extends: expected a readable model of the catalog"),
        ("{image: demo, aliases: [mine]}", "aliases: the name 'mine' is there twice"),
        ("{image: demo, aliases: [a], presets: {a: {}}}", "aliases: the name 'a' is there twice"),
        (
            "{image: demo, context: 1000, client: {context: 2000}}",
            "client.context: expected at most context, 1000, got 2000",
        ),
    ],
)
def test_what_only_the_parser_sees(text: str, message: str) -> None:
    values = {"source": {"model": "a/b"}, "memory": "1GiB", **document.parse(text, "x")}

    assert message in "\n".join(problems_of(str(values)))


@pytest.mark.parametrize(
    "name", ["Upper", "", "a b", "a/b", "-a", ".a", "a" * 64, "ä", "chat", "a\n"]
)
def test_a_file_whose_name_cannot_be_a_model(name: str) -> None:
    [problem] = problems_of("{source: {model: a/b}, memory: 1GiB, image: demo}", name=name)

    assert "name" in problem


def test_the_catalog_has_ports_of_its_own_and_extends_families_alone() -> None:
    text = "{source: {model: a/b}, memory: 1GiB, image: demo, port: %s}"

    assert parse(text % 18299, vendor=True).vendor
    assert "18100 to 18299" in problems_of(text % 18300, vendor=True)[0]
    assert "required" in problems_of(text % "null", vendor=True)[0]
    wrong = problems_of("{extends: elsewhere, port: 18101}", vendor=True)
    assert "extends: expected a readable" in wrong[0]


def test_extra_arguments_go_behind_those_of_the_file_that_is_extended() -> None:
    base = {"family": {"image": "demo", "args": "--a 1 --b 2", "memory": "1GiB"}}
    text = "{extends: family, source: {model: a/b}, port: 18100, extra_args: [--c, '3']}"

    model = modelfile.parse("mine", text, file="mine.yaml", images=IMAGES, bases=base, vendor=True)

    assert model.args == ("--a", "1", "--b", "2", "--c", "3")

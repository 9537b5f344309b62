"""The list that nginx routes by."""

import json

import pytest

from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import (
    Capabilities,
    Engine,
    Keep,
    Lifecycle,
    Model,
    Source,
    Timeouts,
    Tools,
)
from spark_activator.render.routes import lines, routes


def model(name: str, port: int, **values: object) -> Model:
    return Model(
        name=name, port=port, engine=Engine.VLLM, source=Source("a/b"), memory=1 << 30, **values
    )


def test_every_name_of_every_model_is_listed_and_only_listeners_are_enabled() -> None:
    models = [
        model("b", 18101, lifecycle=Lifecycle.UTILITY, keep=Keep.ALWAYS),
        model(
            "a",
            18100,
            aliases=("a1",),
            presets={"a-precise": {"temperature": 0}},
            context=4096,
            capabilities=Capabilities(tools=Tools.FORCED, vision=True),
            timeouts=Timeouts(idle=60.0),
        ),
    ]

    assert json.loads(routes(models, {"a"})) == {
        "default_model": None,
        "origins": [],
        "models": {
            "a": {
                "port": 18100,
                "enabled": True,
                "names": ["a", "a1", "a-precise"],
                "context": 4096,
                "capabilities": {"tools": "forced", "vision": True},
                "chat": True,
                "utility": False,
                "exclusive": False,
                "idle": 60.0,
                "created": 0,
            },
            "b": {
                "port": 18101,
                "enabled": False,
                "names": ["b"],
                "context": None,
                "capabilities": {},
                "chat": True,
                "utility": True,
                "exclusive": False,
                "idle": None,
                "created": 0,
            },
        },
    }


def test_settings_of_the_host_are_listed() -> None:
    host = HostSettings(origins=("https://chat.example.org",), default_model="a")
    found = json.loads(routes([], set(), host))

    assert found == {
        "default_model": "a",
        "origins": ["https://chat.example.org"],
        "models": {},
    }


def test_retired_names_are_listed_with_what_to_use_instead() -> None:
    why = {
        "old": {"reason": "superseded", "instead": "a"},
        "lost": {"reason": "x", "instead": None},
    }
    text = routes([model("a", 18100)], set(), retired=why)

    assert json.loads(text)["retired"] == why
    # Models keep a line each: nginx parses no more of the list for one that is there.
    assert text.split("\n")[1].startswith('"a":{')


@pytest.mark.parametrize(
    ("args", "chat"),
    [
        ((), True),
        (("--runner", "generate"), True),
        (("--runner=auto",), True),
        (("--runner", "pooling"), False),
        (("--runner=pooling", "--convert", "embed"), False),
        (("--enforce-eager", "--task", "score"), False),
        (("--is-embedding",), False),
        (("--tokenizer", "pooling"), True),
        (("--runner",), False),
    ],
)
def test_engines_for_vectors_and_scores_do_not_chat(args: tuple[str, ...], chat: bool) -> None:
    listed = json.loads(routes([model("a", 18100, args=args)], set()))

    assert listed["models"]["a"]["chat"] is chat


def test_each_model_has_a_line_of_its_own() -> None:
    # nginx finds a name and parses nothing but its line.
    text = lines({"a": {"names": ["a", "x\n"]}, "b": {"names": ["b"]}}, {"origins": []})

    assert text.split("\n") == [
        '{"origins":[],"models":{',
        '"a":{"names":["a","x\\n"]},',
        '"b":{"names":["b"]}',
        "}}",
        "",
    ]
    assert json.loads(lines({}, {})) == {"models": {}}


def test_order_of_models_does_not_change_the_text() -> None:
    # The file is only replaced when it differs: nginx watches it.
    models = [model("a", 18100), model("b", 18101)]

    assert routes(models, set()) == routes(reversed(models), set())

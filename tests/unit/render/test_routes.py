"""The list that nginx routes by."""

import json

from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.render.routes import routes


def model(name: str, port: int, **values: object) -> Model:
    return Model(
        name=name, port=port, engine=Engine.VLLM, source=Source("a/b"), memory=1 << 30, **values
    )


def test_every_name_of_every_model_is_listed_and_only_listeners_are_enabled() -> None:
    models = [
        model("b", 18101),
        model("a", 18100, aliases=("a1",), presets={"a-precise": {"temperature": 0}}, context=4096),
    ]

    assert json.loads(routes(models, {"a"})) == {
        "models": {
            "a": {
                "port": 18100,
                "enabled": True,
                "names": ["a", "a1", "a-precise"],
                "context": 4096,
                "created": 0,
            },
            "b": {
                "port": 18101,
                "enabled": False,
                "names": ["b"],
                "context": None,
                "created": 0,
            },
        }
    }


def test_order_of_models_does_not_change_the_text() -> None:
    # The file is only replaced when it differs: nginx watches it.
    models = [model("a", 18100), model("b", 18101)]

    assert routes(models, set()) == routes(reversed(models), set())
